"""A recipe for a new corpus: the template with a toy corpus in it, so that it runs as it is.

The toy are two recordings of tones, listed once for each set: they show the form, and that all
stages work. Their owner replaces `corpus.tsv`.
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
# language → (surface, meaning) of the two recordings, and what surfaces are made of
TOYS = {
    "en": ((("W IY S IY", "we see"), ("S IY M IY", "see me")), "phone"),
    "ko": ((("궁물", "국물"), ("가치", "같이")), "jamo"),
}
OTHER_TOY = ((("mama", "mama"), ("nana", "nana")), "char")


def unsupported(lang: str) -> str:
    """What a corpus of this language has to do without, for its owner; "" for ko and en.

    >>> unsupported("ko"), unsupported("fr").partition(":")[0]
    ('', 'fr')
    """
    if lang in TOYS:
        return ""
    return (
        f"{lang}: there are no rules of pronunciation for it here (espnet-ext g2p has ko and en), "
        "so both outputs are characters and nothing makes canonical forms; mispronunciations are "
        "judged (stage 17) only if the table has a column canonical. All other stages are the same"
    )


def find_root(start: str | os.PathLike = "") -> Path:
    """The repository: `start`, or the one that we are in, or that this package is in.

    A `UserError` if none has the template.
    """
    here = [Path.cwd(), *Path.cwd().parents, Path(__file__).parents[2]]
    places = [Path(start)] if start else here
    for place in places:
        if (place / "egs2" / TEMPLATE / "dual1/run.sh").is_file():
            return place.absolute()
    remedy = "run it in a clone of the repository, or name one: --root DIR"
    raise UserError(f"{places[0]}: has no egs2/{TEMPLATE}/dual1", remedy)


def create(name: str, root: str | os.PathLike = "", *, lang: str = "en", title: str = "") -> Path:
    """Write `egs2/<name>/dual1`, whole or not at all; an existing recipe is left alone."""
    if not NAME.fullmatch(name) or name == TEMPLATE.lower():
        what = "is taken by the template" if name == TEMPLATE.lower() else "is no name for a recipe"
        remedy = "use small letters, digits and '_', beginning with a letter: my_corpus"
        raise UserError(f"'{name}' {what}", remedy)
    if not LANG.fullmatch(lang):
        raise UserError(f"--lang '{lang}': not a language's code", "give one such as ko or en")
    title = title or name.replace("_", " ")
    if set(title) & set("\"$`\\\n'"):
        raise UserError(f"--title '{title}': has quotes or $, ` or \\", "leave them out")
    home = find_root(root)
    target = home / "egs2" / name
    if target.exists() or target.is_symlink():
        raise UserError(f"{target}: is there already", "choose another name, or remove it")
    try:
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".new-") as temporary:
            recipe = Path(temporary) / name / "dual1"
            for part in ("run.sh", "local/data.sh", "conf/recipe.conf"):
                (recipe / part).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(home / "egs2" / TEMPLATE / "dual1" / part, recipe / part)
            _configure(recipe / "conf/recipe.conf", lang, title)
            _write_toy(recipe, lang)
            files.write_text(recipe / "README.md", _readme(name, title))
            recipe.parent.replace(target)
    except OSError as error:
        message = f"{target}: cannot write: {error.strerror or error}"
        raise UserError(message, "check the folder's permissions and the disk's space") from None
    return target / "dual1"


def tones(pitches: list[float], seconds: float = 0.25) -> "np.ndarray":
    """Samples (T,) of tones one after the other, with overtones, fading in and out.

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
    """Fill in the template's settings; lines that are not there would be a broken template."""
    text = path.read_text(encoding="utf-8")
    kind = TOYS.get(lang, OTHER_TOY)[1]
    meaning = "jamo" if lang == "ko" else "char"
    settings = {
        "langs": f'"{lang}"',
        "title": f'"{title}"',
        "manifest": "corpus.tsv",
        "token_types": f'"surface={kind} meaning={meaning}"',
    }
    for name, value in settings.items():
        text, count = re.subn(rf"^{name}=.*$", f"{name}={value}", text, flags=re.MULTILINE)
        if count != 1:
            raise UserError(f"{path}: has no setting {name}", "restore the template")
    files.write_text(path, text)


def _write_toy(recipe: Path, lang: str) -> None:
    from espnet_ext.data.audio import write_audio

    rows = ["utt_id\tspeaker\taudio\tsurface\tmeaning\tset"]
    for number, (surface, meaning) in enumerate(TOYS.get(lang, OTHER_TOY)[0], 1):
        sound = f"sound/toy{number}.wav"
        write_audio(recipe / sound, tones([150 + 50 * number, 220, 180, 240]), RATE)
        rows += [
            f"toy{number}_{name}\ttoy{name}\t{sound}\t{surface}\t{meaning}\t{name}"
            for name in ("train", "valid", "test")
        ]
    files.write_text(recipe / "corpus.tsv", "\n".join(rows) + "\n")


def _readme(name: str, title: str) -> str:
    return f"""# {title}

What it is, its licence, how to get it: write it here.

```sh
./run.sh --recipe egs2/{name}/dual1 --quick true     # all stages, with a few utterances
./run.sh --recipe egs2/{name}/dual1                  # the experiment
```

`corpus.tsv` lists the corpus, a row an utterance; so far it holds a toy (two recordings of tones,
in all three sets).
[How to make it one of your own](../../{TEMPLATE}/dual1/README.md).

| text | what it is |
|---|---|
| `text.surface` | what was pronounced |
| `text.meaning` | what was meant |
"""
