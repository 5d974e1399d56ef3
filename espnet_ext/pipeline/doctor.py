"""Check the environment: what is needed and what is optional, each with a remedy.

Every check is a function without arguments that returns a `Finding`. Libraries are imported in a
process of their own, because a damaged one may end it.
"""

import contextlib
import importlib.metadata
import json
import locale
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from packaging.requirements import Requirement

OK, NOTE, PROBLEM = "OK", "note", "PROBLEM"
ESPNET = "202611"
PYTHONS = ((3, 12), (3, 13))
GIGABYTE = 1e9  # bytes
REQUIRED_DISK = 2.0  # GB, for a small experiment
RECOMMENDED_DISK = 10.0  # GB, for the environment and audio too
HUB = "https://huggingface.co/api/models?limit=1"
IMPORT_SECONDS = 120
IN_CLONE = (Path(__file__).parents[2] / "setup.py").is_file()
INSTALL = (
    "bash local/setup_env.sh, or pip install -e . -c local/constraints.txt"
    if IN_CLONE
    else "install the wheel of espnet-ext again, by pip, into a new environment"
)
# Extra → the packages that it installs, what needs them
EXTRAS = {
    "synth": (("espeakng-loader",), "the embedded corpus (./run.sh without a recipe)"),
    "pretrained": (("transformers", "peft"), "Whisper, wav2vec 2.0, HuBERT and WavLM encoders"),
    "vad": (("silero-vad",), "cutting long audio at silences"),
    "lhotse": (("lhotse",), "importing and exporting lhotse manifests"),
    "hf": (("datasets",), "importing Hugging Face data sets"),
    "translation": (("sacrebleu",), "BLEU and chrF of translations"),
    "tables": (("openpyxl",), "Excel workbooks as tables"),
    "onnx": (("onnx", "onnxruntime"), "espnet-ext export --to onnx"),
    "serve": (("fastapi", "uvicorn"), "the page and HTTP API of espnet-ext serve"),
}


@dataclass(frozen=True)
class Finding:
    """The result of one check.

    Args:
        state: OK, NOTE (optional and absent, or worth knowing) or PROBLEM (needed and broken).
        remedy: what to do; empty if all is well.
    """

    name: str
    state: str
    detail: str
    remedy: str = ""

    def __str__(self) -> str:
        """Return the finding as text.

        >>> print(Finding("disk", "PROBLEM", "1.0 GB free", "free space"))
        PROBLEM  disk: 1.0 GB free
                   remedy: free space
        """
        text = f"{self.state:<7}  {self.name}: {self.detail}"
        return f"{text}\n           remedy: {self.remedy}" if self.remedy else text


def _run(code: str, seconds: float = IMPORT_SECONDS) -> tuple[bool, str]:
    """Run Python code in a process of its own; return whether it succeeded and its last line."""
    try:
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, timeout=seconds
        )
    except subprocess.TimeoutExpired:
        return False, f"no answer within {seconds:.0f} s"
    lines = (done.stdout if done.returncode == 0 else done.stderr or done.stdout).split("\n")
    last = next((line.strip() for line in reversed(lines) if line.strip()), "")
    if done.returncode < 0:
        last = f"the process was ended by signal {-done.returncode}"
    return done.returncode == 0, last


def check_python() -> Finding:
    version = platform.python_version()
    detail = f"{version} ({sys.executable})"
    if sys.version_info[:2] in PYTHONS:
        return Finding("Python", OK, detail)
    return Finding("Python", PROBLEM, detail, "make an environment with Python 3.12 or 3.13")


def check_torch() -> Finding:
    works, text = _run("import torch; torch.ones(2).sum().item(); print(torch.__version__)")
    if works:
        return Finding("PyTorch", OK, text)
    return Finding("PyTorch", PROBLEM, f"cannot be imported: {text}", INSTALL)


def check_espnet() -> Finding:
    try:
        version = importlib.metadata.version("espnet")
    except importlib.metadata.PackageNotFoundError:
        return Finding("ESPnet", PROBLEM, "not installed", INSTALL)
    if version != ESPNET:
        detail = f"{version}, but this package is for {ESPNET}"
        return Finding("ESPnet", PROBLEM, detail, f"pip install 'espnet[asr,train]=={ESPNET}'")
    works, text = _run("from espnet_ext.model.espnet import load; load('Trainer')")
    if works:
        return Finding("ESPnet", OK, version)
    return Finding("ESPnet", PROBLEM, f"{version} cannot be imported: {text}", INSTALL)


def _requirements(extra: str = "") -> "list[Requirement]":
    """Return what the installed package requires, or what an extra adds to that.

    Raises:
        importlib.metadata.PackageNotFoundError: the package runs from its source.
    """
    from packaging.requirements import Requirement  # absent in a broken environment

    chosen = []
    for requirement in map(Requirement, importlib.metadata.requires("espnet-ext") or []):
        marker = requirement.marker
        is_base = marker is None or marker.evaluate({"extra": ""})
        is_extra = marker is not None and not is_base and marker.evaluate({"extra": extra})
        if is_extra if extra else is_base:
            chosen.append(requirement)
    return chosen


def _unsuitable(requirement: "Requirement") -> str:
    """Return what is wrong about the version of a required package; empty if it is suitable."""
    try:
        version = importlib.metadata.version(requirement.name)
    except importlib.metadata.PackageNotFoundError:
        return f"{requirement.name} is not installed"
    if requirement.specifier.contains(version, prereleases=True):
        return ""
    return f"{requirement.name} {version}, not {requirement.specifier}"


def check_packages() -> Finding:
    """Check the versions of all packages that this one requires."""
    name = "Python packages"
    try:
        requirements = _requirements()
    except importlib.metadata.PackageNotFoundError:
        return Finding(name, NOTE, "espnet-ext runs from its source and is not installed", INSTALL)
    except ImportError as error:
        return Finding(name, PROBLEM, str(error), INSTALL)
    wrong = [problem for one in requirements if (problem := _unsuitable(one))]
    if wrong:
        return Finding(name, PROBLEM, "; ".join(wrong), INSTALL)
    return Finding(name, OK, f"all {len(requirements)} have a suitable version")


def check_gpu() -> Finding:
    code = (
        "import torch; n = torch.cuda.device_count(); "
        "[torch.ones(1, device=f'cuda:{i}').item() for i in range(n)]; "
        "print(', '.join(torch.cuda.get_device_name(i) for i in range(n)))"
    )
    works, text = _run(code)
    if works and text:
        return Finding("GPU", OK, text)
    if not works:
        remedy = "check nvidia-smi; until then leave out --ngpu and --gpu_inference"
        return Finding("GPU", NOTE, f"cannot be used: {text}", remedy)
    if shutil.which("nvidia-smi"):
        remedy = "install a build of PyTorch for CUDA, or check CUDA_VISIBLE_DEVICES"
        return Finding("GPU", NOTE, "nvidia-smi is installed, but PyTorch sees no GPU", remedy)
    return Finding("GPU", NOTE, "none: trainings and decoding run on the CPU")


def check_threads() -> Finding:
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    value = os.environ.get("OMP_NUM_THREADS")
    detail = f"{usable} usable cores, OMP_NUM_THREADS {value or 'not set'}"
    if value is not None and not value.isdecimal():
        return Finding("threads", NOTE, detail, "set OMP_NUM_THREADS to a number, or unset it")
    if value and usable and int(value) > usable:
        remedy = f"set OMP_NUM_THREADS to at most {usable}: more threads than cores are slower"
        return Finding("threads", NOTE, detail, remedy)
    return Finding("threads", OK, detail)


def check_disk() -> Finding:
    folder = Path.cwd()
    free = shutil.disk_usage(folder).free / GIGABYTE
    detail = f"{free:.1f} GB free in {folder}"
    if free < REQUIRED_DISK:
        remedy = "free space, or give --datadir, --dumpdir and --expdir on another disk"
        return Finding("disk", PROBLEM, detail, remedy)
    if free < RECOMMENDED_DISK:
        return Finding(
            "disk", NOTE, f"{detail}; environment and data take about {RECOMMENDED_DISK} GB"
        )
    return Finding("disk", OK, detail)


def check_writable() -> Finding:
    name = "temporary files"
    try:
        with tempfile.TemporaryFile() as handle:
            handle.write(b"test")
    except OSError as error:
        remedy = "free space there, or set TMPDIR to another folder"
        return Finding(name, PROBLEM, f"{error.strerror or error}", remedy)
    return Finding(name, OK, tempfile.gettempdir())


def check_locale() -> Finding:
    encoding = locale.getpreferredencoding(False)
    language = os.environ.get("LC_ALL") or os.environ.get("LC_CTYPE") or os.environ.get("LANG")
    detail = f"{encoding} (locale {language or 'not set'})"
    if re.sub("[^a-z0-9]", "", encoding.lower()) == "utf8":
        return Finding("locale", OK, detail)
    remedy = "the commands here read and print UTF-8 anyway; for others: export LC_ALL=C.UTF-8"
    return Finding("locale", NOTE, detail, remedy)


def check_audio() -> Finding:
    """Write and read FLAC, and resample it."""
    code = (
        "import io, numpy, soundfile, soxr\n"
        "data = io.BytesIO()\n"
        "soundfile.write(data, numpy.zeros(1600, 'float32'), 16000, format='FLAC')\n"
        "data.seek(0)\n"
        "samples, rate = soundfile.read(data, dtype='float32')\n"
        "assert soxr.resample(samples, rate, 8000).shape == (800,)\n"
        "print(soundfile.__libsndfile_version__)"
    )
    works, text = _run(code)
    if works:
        return Finding("audio", OK, f"{text} writes and reads FLAC, soxr resamples")
    remedy = "pip install --force-reinstall soundfile soxr; on Debian: apt-get install libsndfile1"
    return Finding("audio", PROBLEM, text, remedy)


def _is_installed(name: str) -> bool:
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def check_extra(extra: str) -> Finding:
    """Check that all packages of an extra have a suitable version and can be imported."""
    names, purpose = EXTRAS[extra]
    wrong = {name: f"{name} is not installed" for name in names if not _is_installed(name)}
    with contextlib.suppress(ImportError):  # the package runs from its source, without versions
        wrong |= {
            one.name: problem
            for one in _requirements(extra)
            if one.name in names and (problem := _unsuitable(one))
        }
    for name in names:
        if name not in wrong:
            works, text = _run(f"import {name.replace('-', '_')}")
            if not works:
                wrong[name] = f"{name} cannot be imported: {text}"
    if not wrong:
        return Finding(f"extra {extra}", OK, purpose)
    remedy = f"pip install 'espnet-ext[{extra}]'"
    if IN_CLONE:
        remedy = f"pip install -e '.[{extra}]' -c local/constraints.txt"
    problem = "; ".join(wrong[name] for name in names if name in wrong)
    return Finding(f"extra {extra}", NOTE, f"{problem}; it is for {purpose}", remedy)


def check_hub(seconds: float) -> Finding:
    name = "Hugging Face hub"
    if os.environ.get("HF_HUB_OFFLINE", "").lower() in ("1", "true", "yes", "on"):
        return Finding(name, NOTE, "HF_HUB_OFFLINE is set: only downloaded models are used")
    try:
        with urllib.request.urlopen(HUB, timeout=seconds):
            return Finding(name, OK, "reachable")
    except urllib.error.HTTPError as error:
        return Finding(name, OK, f"reachable (HTTP {error.code})")
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        remedy = "connect to the network, set HTTPS_PROXY, or give models as folders"
        return Finding(name, NOTE, f"not reachable: {reason}", remedy)


def checks(hub_timeout: float) -> list[Callable[[], Finding]]:
    """Return all checks.

    Args:
        hub_timeout: seconds to wait for the hub; 0: it is not asked.
    """
    everything: list[Callable[[], Finding]] = [
        *(check_python, check_torch, check_espnet, check_packages, check_gpu, check_threads),
        *(check_disk, check_writable, check_locale, check_audio),
        *(lambda extra=extra: check_extra(extra) for extra in EXTRAS),
    ]
    return everything + ([lambda: check_hub(hub_timeout)] if hub_timeout else [])


def summary(findings: Sequence[Finding]) -> str:
    """Return one line about all findings.

    >>> summary([Finding("a", "OK", ""), Finding("b", "PROBLEM", "")])
    '1 problem: b'
    """
    problems = [finding.name for finding in findings if finding.state == PROBLEM]
    if problems:
        return f"{len(problems)} problem{'s' * (len(problems) > 1)}: {', '.join(problems)}"
    return "everything that is needed works"


def is_report(content: Any) -> bool:
    """Return whether JSON content was written by `espnet-ext doctor --json`."""
    keys = {one.name for one in fields(Finding)}
    rows = content if isinstance(content, list) else []
    return bool(rows) and all(isinstance(row, dict) and row.keys() == keys for row in rows)


def to_json(findings: Sequence[Finding]) -> str:
    return json.dumps([asdict(finding) for finding in findings], indent=2, ensure_ascii=False)
