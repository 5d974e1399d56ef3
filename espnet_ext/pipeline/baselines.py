"""Baselines (`--baselines`): other recognisers whose results stand beside those of the systems.

A baseline is `NAME[:OUTPUT][@SEARCH]=DIR`; the same name with several outputs is one baseline. DIR
has hypotheses (`DIR/<set>/text`), or is a model to decode: a folder, an archive, or a name on the
Hugging Face hub. `{lang}` and `{set}` in DIR stand for the language and the test set.

Needs only the standard library of Python 3.9.
"""

from __future__ import annotations

import glob
import os
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from espnet_ext.errors import did_you_mean
from espnet_ext.pipeline.usage import UsageError
from espnet_ext.pipeline.variants import CANONICAL, COUPLED

if TYPE_CHECKING:
    Value = str | Sequence[str] | Mapping[str, str]

_WORD = re.compile(
    r"(?P<name>\w[\w.+-]*)(?::(?P<output>[A-Za-z][A-Za-z0-9_]*))?(?:@(?P<search>[^=/]*))?"
    r"=(?P<source>.+)"
)
SEARCHES = ("project", "stock")  # by which models are decoded
# A name on the hub, and a folder in it. Names begin with a letter, digit or "_": "./a/b" is a path.
_HUB = re.compile(r"\w[\w.-]*/\w[\w.-]*(/\w[\w.-]*)*")
ARCHIVE_SUFFIXES = (".zip", ".tar", ".tgz", ".tar.gz", ".tbz2", ".tar.bz2", ".txz", ".tar.xz")
_MODELS = (  # in a folder with a model
    "config.yaml",
    "*/config.yaml",
    "meta.yaml",
    *(f"*{suffix}" for suffix in ARCHIVE_SUFFIXES),
)
_EXAMPLE = 'for example --baselines "whisper:meaning=hypotheses stock=exp/asr_train"'


@dataclass(frozen=True)
class Source:
    """What one word of `--baselines` names.

    Args:
        output: empty for that of the files or the model.
        search: one of `SEARCHES`; empty for that of `--baseline_search`.
    """

    name: str
    output: str
    path: str
    search: str = ""

    @property
    def word(self) -> str:
        output = f":{self.output}" if self.output else ""
        search = f"@{self.search}" if self.search else ""
        return f"{self.name}{output}{search}={self.path}"


@dataclass
class Baselines:
    """The baselines of a run.

    Args:
        names: their names, in order.
        trainings: "LANG OUTPUT SYSTEM" for each stock model to train (`--train_baseline`).
        texts: "LANG SET NAME OUTPUT FOLDER" for each folder of hypotheses; OUTPUT is "-" if none is
            named.
        models: "LANG NAME OUTPUT SEARCH MODEL" for each model to decode.
        on_hub: the models that are names on the Hugging Face hub, if they exist.
        runs: "LANG SET NAME" for each test set that a baseline has, in order.
    """

    names: list[str] = field(default_factory=list)
    trainings: list[str] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    models: list[str] = field(default_factory=list)
    runs: list[str] = field(default_factory=list)
    on_hub: list[str] = field(default_factory=list)

    def variables(self) -> dict[str, Value]:
        return {
            "baseline_names": " ".join(self.names),
            "stock_trainings": self.trainings,
            "baseline_texts": self.texts,
            "baseline_models": self.models,
            "baseline_runs": self.runs,
            "baselines_on_hub": self.on_hub,
        }


def parse(
    words: Iterable[str], systems: Sequence[str], outputs: Sequence[str] = ()
) -> list[Source]:
    """Return the sources that the words of `--baselines` name.

    Args:
        systems: names that baselines must not have.
        outputs: those with a token type; (): any name.

    Raises:
        UsageError: a word is wrong, names an unknown output, or two are the same.

    >>> parse(["whisper:meaning=hyp"], [])
    [Source(name='whisper', output='meaning', path='hyp', search='')]
    """
    sources: list[Source] = []
    for word in words:
        match = _WORD.fullmatch(word)
        if match is None:
            raise UsageError(
                f"--baselines: '{word}' is not NAME=DIR, NAME:OUTPUT=DIR or NAME:OUTPUT@SEARCH=DIR",
                _EXAMPLE,
            )
        if match["search"] is not None and match["search"] not in SEARCHES:
            raise UsageError(
                f"--baselines: '{word}': unknown search '{match['search']}'",
                f"choose {' or '.join(f'@{name}' for name in SEARCHES)}",
            )
        if outputs and match["output"] and match["output"] not in outputs:
            known = f"the outputs are {', '.join(outputs)} (--token_types)"
            raise UsageError(
                f"--baselines: '{word}': unknown output '{match['output']}'",
                did_you_mean(match["output"], outputs, known),
            )
        path = os.path.expanduser(match["source"])
        source = Source(match["name"], match["output"] or "", path, match["search"] or "")
        variants = [f"{name}_{variant}" for name in systems for variant in (COUPLED, *CANONICAL)]
        if source.name in [*systems, *variants]:
            raise UsageError(
                f"--baselines: {source.name} is the name of a system", "give it another name"
            )
        for other in sources:
            if other.name == source.name and (
                other.output == source.output or not (other.output and source.output)
            ):
                raise UsageError(
                    f"--baselines: '{other.word}' and '{source.word}' have the same name",
                    "name an output in each, as in NAME:surface=DIR NAME:meaning=DIR, or give them "
                    "different names",
                )
        sources.append(source)
    return sources


def add_trained(
    located: Baselines,
    outputs: Mapping[str, Sequence[str]],
    sets: Sequence[str],
    systems: Sequence[str],
    folders: str,
    search: str = SEARCHES[0],
) -> None:
    """Add the stock models to be trained: one per language and single-output system.

    Args:
        outputs: language → names of its outputs.
        systems: all known systems; `so_<output>` has the size and the loss of the stock model.
        folders: path of the model folders, with `{lang}` and `{output}`.
        search: search by which they are decoded.

    Raises:
        UsageError: a name is taken, or no output has such a system.
    """
    for lang, names in outputs.items():
        for output in names:
            name = f"stock_{output}"
            if f"so_{output}" not in systems:
                continue
            if name not in located.names:
                located.names.append(name)
            elif any(run.split()[2] == name for run in located.runs if run.split()[0] == lang):
                raise UsageError(
                    f"--baselines: {name} is a name that --train_baseline uses",
                    "give it another name",
                )
            located.trainings.append(f"{lang} {output} so_{output}")
            folder = folders.replace("{lang}", lang).replace("{output}", output)
            located.models.append(f"{lang} {name} {output} {search} {folder}")
            located.runs += [f"{lang} {dset} {name}" for dset in sets]
    if not located.trainings:
        raise UsageError(
            "--train_baseline true, but no output has a single-output system",
            "write conf/systems/so_<output>.yaml, with that output alone",
        )


def locate(
    sources: Sequence[Source],
    langs: Sequence[str],
    sets: Sequence[str],
    folders: Sequence[Path],
    search: str = SEARCHES[0],
) -> Baselines:
    """Return what each baseline has for each language and test set. Notes are printed.

    Args:
        folders: where relative paths start; the first that has one counts.
        search: search for models whose word names none.

    Raises:
        UsageError: a source does not exist, is neither hypotheses nor a model, its language is not
            clear, or its word names a search for hypotheses.
    """
    result = Baselines(names=list(dict.fromkeys(source.name for source in sources)))
    runs: set[tuple[str, str, str]] = set()
    for source in sources:
        located: set[tuple[str, str]] = set()  # (language, set)
        for lang in langs:
            path = _existing(source.path.replace("{lang}", lang), folders)
            texts = _folders_of_texts(source, path, lang, langs, sets)
            if texts and source.search:
                raise UsageError(
                    f"--baselines {source.word}: has hypotheses, which need no search",
                    f"remove @{source.search}, or give the folder of the model",
                )
            if texts:
                for dset, folder in texts.items():
                    output = source.output or "-"
                    result.texts.append(f"{lang} {dset} {source.name} {output} {folder}")
                located |= {(lang, dset) for dset in texts}
            elif _is_model(path, folders):
                if len(langs) > 1 and "{lang}" not in source.path:
                    raise UsageError(
                        f"--baselines {source.word}: the language of this model is not clear",
                        "write {lang} for the language in its path, or choose one by --langs",
                    )
                words = (lang, source.name, source.output or "-", source.search or search, path)
                result.models.append(" ".join(words))
                if not Path(path).exists():
                    result.on_hub.append(path)
                located |= {(lang, dset) for dset in sets}
        if not located:
            problem = f"neither hypotheses of {' or '.join(sets)} nor a model"
            if not any(_exists(source.path, lang, folders) for lang in langs):
                problem = "no such file or folder"
            elif Path(_existing(source.path, folders)).is_file():
                problem = "a file that is not an archive"
            raise UsageError(
                f"--baselines {source.word}: {problem}",
                f"give a folder with the hypotheses in {sets[0]}/text, a model folder with "
                "config.yaml, an archive (.zip, .tgz), or user/name on the Hugging Face hub",
            )
        for lang in langs:
            absent = [dset for dset in sets if (lang, dset) not in located]
            if absent:
                print(
                    f"note: --baselines {source.word}: has nothing for {lang}, "
                    f"{', '.join(absent)}: not compared there",
                    file=sys.stderr,
                )
        runs |= {(lang, dset, source.name) for lang, dset in located}
    result.runs = [
        f"{lang} {dset} {name}"
        for name in result.names
        for lang in langs
        for dset in sets
        if (lang, dset, name) in runs
    ]
    return result


def _existing(path: str, folders: Sequence[Path]) -> str:
    """Return a path below the first folder that has it; as it is if none has it."""
    for folder in folders:
        if _matches(str(folder / path)):
            return str(folder / path)
    return path


def _exists(path: str, lang: str, folders: Sequence[Path]) -> bool:
    return _matches(_existing(path.replace("{lang}", lang), folders))


def _matches(path: str) -> bool:
    """Whether a path exists, with any name for `{set}`."""
    return bool(glob.glob(glob.escape(path).replace("{set}", "*")))


def _folders_of_texts(
    source: Source, path: str, lang: str, langs: Sequence[str], sets: Sequence[str]
) -> dict[str, str]:
    """Return the folder of hypotheses per test set, for the sets that have one."""
    templates = [path] if "{set}" in path else [f"{path}/{lang}/{{set}}", f"{path}/{{set}}"]
    for template in templates:
        folders = {dset: template.replace("{set}", dset) for dset in sets}
        folders = {dset: folder for dset, folder in folders.items() if _has_texts(Path(folder))}
        if not folders:
            continue
        has_lang = "{lang}" in source.path or template == templates[0] != templates[-1]
        if len(langs) > 1 and not has_lang:
            if any((Path(path) / other).is_dir() for other in langs):
                return {}  # it has hypotheses of other languages
            raise UsageError(
                f"--baselines {source.word}: the language of these hypotheses is not clear",
                "write {lang} for the language in its path, name the folders <lang>/<set>, or "
                "choose one language by --langs",
            )
        return folders
    return {}


def _has_texts(folder: Path) -> bool:
    """Whether a folder has hypotheses: a file `text`, or one per output."""
    return (folder / "text").is_file() or any(folder.glob("text.*"))


def _is_model(path: str, folders: Sequence[Path]) -> bool:
    """Whether a path is a model folder or an archive, or may be a name on the hub."""
    place = Path(path)
    if place.is_dir():
        return any(any(place.glob(pattern)) for pattern in _MODELS)
    if place.is_file():
        return place.name.endswith(ARCHIVE_SUFFIXES)
    first = path.split("/")[0]
    is_local = any((folder / first).exists() for folder in folders)
    return _HUB.fullmatch(path) is not None and not is_local
