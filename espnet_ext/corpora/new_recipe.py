"""Make the recipe of a new corpus: the template with two example recordings, so that it runs.

The recordings are tones, listed once for each set. The user replaces `corpus.tsv`.
"""

import os
import re
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from espnet_ext import files
from espnet_ext.errors import UserError

if TYPE_CHECKING:
    import numpy as np

NAME = re.compile(r"[a-z][a-z0-9_]{0,40}")
LANG = re.compile(r"[a-z]{2,3}")
TEMPLATE = "TEMPLATE"
RATE = 16000  # Hz
# language → (surface, meaning) of the two recordings, and the token type of the surface
EXAMPLES = {
    "en": ((("W IY S IY", "we see"), ("S IY M IY", "see me")), "phone"),
    "ko": ((("궁물", "국물"), ("가치", "같이")), "jamo"),
}
EXAMPLE_SPEAKERS = {"train": "toytrain", "valid": "toyvalid", "test": "toytest"}  # by set
EXAMPLE_OF_OTHER_LANGUAGES = ((("mama", "mama"), ("nana", "nana")), "char")


def missing_support(lang: str) -> str:
    """Return what does not work for a language, for the user; "" for ko and en.

    >>> missing_support("ko"), missing_support("fr").partition(":")[0]
    ('', 'fr')
    """
    if lang in EXAMPLES:
        return ""
    return (
        f"{lang}: there are no pronunciation rules for this language (espnet-ext g2p supports ko "
        "and en). So both outputs are characters, and canonical forms cannot be generated; stage "
        "17 evaluates mispronunciation detection only if the table has a column canonical. All "
        "other stages work as for ko and en"
    )


def find_root(start: str | os.PathLike = "") -> Path:
    """Return the root of the repository, or of a folder written by `espnet-ext new_recipe`.

    Args:
        start: The root. Without it, the working directory, its parents, and the repository of this
            package are tried.
    Raises:
        UserError: None of the folders has the recipe template.
    """
    defaults = [Path.cwd(), *Path.cwd().parents, Path(__file__).parents[2]]
    candidates = [Path(start)] if start else defaults
    for folder in candidates:
        if (folder / "egs2" / TEMPLATE / "dual1/run.sh").is_file():
            return folder.absolute()
    remedy = (
        "make a folder with run.sh and the recipes (espnet-ext new_recipe DIR) and run this "
        "command there; or name such a folder or a clone of the repository: --root DIR"
    )
    raise UserError(f"{candidates[0]}: has no egs2/{TEMPLATE}/dual1", remedy)


def create(name: str, root: str | os.PathLike = "", *, lang: str = "en", title: str = "") -> Path:
    """Write `egs2/<name>/dual1`, completely or not at all, and return its path.

    Raises:
        UserError: The name, language or title is not allowed, or the recipe exists.
    """
    if not NAME.fullmatch(name) or name == TEMPLATE.lower():
        what = "is the name of the template" if name == TEMPLATE.lower() else "cannot name a recipe"
        remedy = "use lower-case letters, digits and '_', starting with a letter: my_corpus"
        raise UserError(f"'{name}' {what}", remedy)
    if not LANG.fullmatch(lang):
        raise UserError(f"--lang '{lang}': not a language code", "give a code such as ko or en")
    title = title or name.replace("_", " ")
    if set(title) & set("\"$`\\\n'"):
        raise UserError(f"--title '{title}': has quotes or $, ` or \\", "leave them out")
    repository = find_root(root)
    target = repository / "egs2" / name
    if target.exists() or target.is_symlink():
        raise UserError(f"{target}: exists already", "choose another name, or remove it")
    try:
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".new-") as temporary:
            recipe = Path(temporary) / name / "dual1"
            for file in ("run.sh", "local/data.sh", "conf/recipe.conf"):
                (recipe / file).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(repository / "egs2" / TEMPLATE / "dual1" / file, recipe / file)
            _configure(recipe / "conf/recipe.conf", lang, title)
            _write_example(recipe, lang)
            files.write_text(recipe / "README.md", _readme(name, title))
            recipe.parent.replace(target)
    except OSError as error:
        message = f"{target}: cannot write: {error.strerror or error}"
        raise UserError(message, "check the folder's permissions and the disk's space") from None
    return target / "dual1"


def tones(pitches: list[float], seconds: float = 0.25) -> "np.ndarray":
    """Return samples (T,) of consecutive tones with overtones, each faded in and out.

    Args:
        pitches: Frequencies in Hz.
        seconds: Duration of each tone.

    >>> tones([200.0, 250.0]).shape
    (8000,)
    """
    import numpy as np

    time = np.arange(int(seconds * RATE)) / RATE
    fade = np.minimum(1, np.minimum(time, time[::-1]) / 0.02)
    parts = [
        fade * sum(0.2 / k * np.sin(2 * np.pi * k * pitch * time) for k in range(1, 6))
        for pitch in pitches
    ]
    return np.concatenate(parts)


def _configure(path: Path, lang: str, title: str) -> None:
    """Set the settings of the template in place."""
    text = path.read_text(encoding="utf-8")
    surface = EXAMPLES.get(lang, EXAMPLE_OF_OTHER_LANGUAGES)[1]
    meaning = "jamo" if lang == "ko" else "char"
    settings = {
        "langs": f'"{lang}"',
        "title": f'"{title}"',
        "manifest": "corpus.tsv",
        "token_types": f'"surface={surface} meaning={meaning}"',
    }
    for name, value in settings.items():
        text, count = re.subn(rf"^{name}=.*$", f"{name}={value}", text, flags=re.MULTILINE)
        if count != 1:
            raise UserError(f"{path}: has no setting {name}", "restore the template")
    files.write_text(path, text)


def _write_example(recipe: Path, lang: str) -> None:
    from espnet_ext.data.audio import write_audio

    rows = ["utt_id\tspeaker\taudio\tsurface\tmeaning\tset"]
    texts = EXAMPLES.get(lang, EXAMPLE_OF_OTHER_LANGUAGES)[0]
    for number, (surface, meaning) in enumerate(texts, 1):
        audio = f"sound/toy{number}.wav"
        write_audio(recipe / audio, tones([150 + 50 * number, 220, 180, 240]), RATE)
        rows += [
            f"toy{number}_{name}\t{speaker}\t{audio}\t{surface}\t{meaning}\t{name}"
            for name, speaker in EXAMPLE_SPEAKERS.items()
        ]
    files.write_text(recipe / "corpus.tsv", "\n".join(rows) + "\n")


def _readme(name: str, title: str) -> str:
    return f"""# {title}

Describe the corpus, its licence, and how to get it.

```sh
./run.sh --recipe egs2/{name}/dual1 --quick true     # all stages, with a few utterances
./run.sh --recipe egs2/{name}/dual1                  # the experiment
```

`corpus.tsv` lists the corpus, one row per utterance. At first it lists two example recordings of
tones, in all three sets. [How to replace them with your corpus](../../{TEMPLATE}/dual1/README.md).

| text | content |
|---|---|
| `text.surface` | what was pronounced |
| `text.meaning` | what was intended |
"""
