"""docs/first_steps.ipynb: it runs, and shows the two transcripts aligned."""

import os
import sys
from pathlib import Path

import pytest

NOTEBOOK = Path(__file__).parents[2] / "docs/first_steps.ipynb"


def execute(path: Path):
    """Run all cells in this interpreter's environment and return the notebook with its outputs."""
    import nbformat
    from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
    from jupyter_client.manager import AsyncKernelManager
    from nbclient import NotebookClient

    class Here(KernelSpecManager):
        def get_kernel_spec(self, name: str) -> KernelSpec:
            words = ["-m", "ipykernel_launcher", "-f", "{connection_file}"]
            return KernelSpec(argv=[sys.executable, *words], display_name=name, language="python")

    notebook = nbformat.read(path, as_version=4)
    manager = AsyncKernelManager(kernel_spec_manager=Here(), kernel_name="python3")
    NotebookClient(
        notebook,
        timeout=1800,
        startup_timeout=600,
        km=manager,
        resources={"metadata": {"path": str(path.parent)}},
    ).execute()
    return notebook


def printed(cell) -> str:
    return "".join(output.get("text", "") for output in cell.get("outputs", ()))


def test_the_notebook_is_stored_without_machine_specific_paths():
    text = NOTEBOOK.read_text(encoding="utf-8")
    assert "/tmp/" not in text and str(Path.home()) not in text


@pytest.mark.slow
def test_the_notebook_runs(monkeypatch):
    pytest.importorskip("nbclient", reason='pip install -e ".[dev]"')
    pytest.importorskip("ipykernel", reason='pip install -e ".[dev]"')
    pytest.importorskip("espeakng_loader", reason='pip install -e ".[synth]"')
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    root = str(NOTEBOOK.parents[1])
    monkeypatch.setenv("PYTHONPATH", f"{root}:{os.environ.get('PYTHONPATH', '')}".rstrip(":"))
    texts = [printed(cell) for cell in execute(NOTEBOOK).cells if cell.cell_type == "code"]
    rows = next(text for text in texts if text.startswith("canonical") and "recognised" in text)
    rows = rows.splitlines()
    assert [row.split()[0] for row in rows] == [
        *("canonical", "surface", "recognised", "deviation", "meaning")
    ]
    canonical, surface, _, marks = (row[11:] for row in rows[:4])
    differing = [n for n, (a, b) in enumerate(zip(canonical, surface, strict=False)) if a != b]
    assert not differing or "^" in marks
