"""The corpora that `espnet-ext prepare` knows, with their options: the one declaration of both.

The command line (`bin/prepare.py`), the recipes (`run.sh`, `local/data.sh`) and the tests read
`CORPORA`. To add a corpus, write one module with `prepare(options, job)` (see
`corpora/__init__.py`) and add one entry here. A recipe with a `local/data.sh` of its own needs no
entry.

This module needs nothing but the standard library of Python 3.9 and imports in milliseconds,
because shell scripts read it before any environment is set up. The corpora's own modules are
imported only when a corpus is prepared.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from types import ModuleType

from espnet_ext.corpora.languages import LANGUAGES, is_known
from espnet_ext.corpora.options import ALL_SETS, KINDS, Option
from espnet_ext.corpora.shared_options import (
    ACCEPT_UNVERIFIED,
    AIHUB_SPLIT,
    ARCHIVE,
    DISFLUENCIES,
    DOWNLOAD,
    DOWNLOADS_DIR,
    FILES_AT_A_TIME,
    PRIVACY,
    PROCESSES,
    SHA256,
    SKIP_UNREADABLE,
    TRANSLATION,
    UNIDENTIFIED,
    UNINTELLIGIBLE,
    corpus_folder,
    parallel,
)
from espnet_ext.errors import UserError, did_you_mean

__all__ = ["CORPORA", "KINDS", "Corpus", "Option", "get_corpus", "suggestion"]

# Options of every corpus. Recipes have them too: they are options of run.sh.
DATA_DIR = Option("data_dir", "data", "where <lang>/<set> is written")
QUICK = Option("quick", "false", "prepare a small part of each set, to try things out", "boolean")
OVERWRITE = Option(
    "overwrite",
    "false",
    "replace data directories that this command did not write, or that have changed since",
    "boolean",
)
RUN_SH = ("data_dir", "quick", "nj", "langs")  # names in recipes that run.sh itself declares


@dataclass(frozen=True)
class Corpus:
    """A corpus: what it is called, what it takes, and which module prepares it."""

    name: str  # the sub-command, and `corpus=<name>` in a recipe's conf/recipe.conf
    title: str
    module: str  # dotted path of the module with `prepare(options, job)`; imported when needed
    languages: tuple[str, ...] = ()  # codes of the languages that it has; empty: any
    own_options: tuple[Option, ...] = ()  # without `data_dir`, `sets`, `quick` and `overwrite`
    sets: tuple[str, ...] = ("train", "valid", "test")  # names of the sets that it writes
    optional_sets: tuple[str, ...] = ()  # sets that it writes with some options only
    one_language: bool = False  # each call prepares a single language
    makes_small_sets: bool = False  # `prepare` handles `quick`, so the command need not shrink sets

    @property
    def options(self) -> tuple[Option, ...]:
        """All options of `espnet-ext prepare <name>`."""
        return (DATA_DIR, self.sets_option, QUICK, OVERWRITE, *self.own_options)

    @property
    def sets_option(self) -> Option:
        """The option for the sets to prepare: all, or some of the corpus's."""
        return Option(
            "sets",
            ALL_SETS,
            "sets to prepare, for example test, to decode with an existing model: the data of the "
            "others may be missing",
            "words",
            (ALL_SETS, *self.sets, *self.optional_sets),
        )

    @property
    def recipe_options(self) -> tuple[Option, ...]:
        """Options that its recipe adds to those of run.sh, under their names in recipes.

        >>> [option.name for option in CORPORA["epadb"].recipe_options]
        ['epadb', 'allophones', 'unidentified', 'skip_unreadable', 'sets', 'overwrite']
        """
        return tuple(
            replace(option, name=option.name_in_recipes, recipe_name=None)
            for option in (*self.own_options, self.sets_option, OVERWRITE)
            if option.name_in_recipes and option.name_in_recipes not in RUN_SH
        )

    @property
    def required_groups(self) -> tuple[tuple[str, ...], ...]:
        """Groups of recipe options: at least one option of each group must be given.

        >>> CORPORA["l2arctic"].required_groups
        (('l2arctic', 'archive'),)
        """
        groups: dict[str, list[str]] = {}
        for option in self.recipe_options:
            if option.required_group:
                groups.setdefault(option.required_group, []).append(option.name)
        return tuple(tuple(names) for names in groups.values())

    def check_languages(self, langs: Iterable[str]) -> None:
        """Raise a UserError if the corpus lacks one of the languages, or prepares one at a time."""
        langs = list(langs)
        option = f"--langs '{' '.join(langs)}'"
        if missing := [lang for lang in langs if self.languages and lang not in self.languages]:
            has = " ".join(self.languages)
            message = f"{option}: {self.name} has no {' and no '.join(missing)}, only {has}"
            raise UserError(
                message, f"give --langs {self.languages[0]}, or {_elsewhere(missing[0])}"
            )
        if len(langs) != 1 and self.one_language:
            message = f"{option}: {self.name} is prepared one language at a time"
            raise UserError(message, f"give one of them, such as --langs {self.languages[0]}")

    def arguments(self, values: Mapping[str, str]) -> list[str]:
        """Return the arguments of `espnet-ext prepare` for the values of a recipe's options.

        Args:
            values: Values by the options' names in recipes, those of run.sh (`data_dir`, `quick`,
                `nj`, `langs`) among them. An option without a value keeps its default.

        Raises:
            UserError: The corpus does not have one of the languages `langs`.

        >>> CORPORA["epadb"].arguments({"epadb": "/corpora/EpaDB", "langs": "en", "nj": "4"})
        ['epadb', '--corpus_dir', '/corpora/EpaDB', '--nj', '4']
        """
        if "langs" in values:
            self.check_languages(values["langs"].split())
        arguments = [self.name]
        for option in self.options:
            value = values.get(option.name_in_recipes)
            if value is None or not option.name_in_recipes:
                continue
            if option.name == "lang":  # of several, rows without a language are of the first one
                value = value.split()[0] if value.split() else value
            arguments += [f"--{option.name}", value]
        return arguments

    def import_module(self) -> ModuleType:
        """Import the module that prepares the corpus."""
        return importlib.import_module(self.module)


def get_corpus(name: str) -> Corpus:
    """Return a corpus by its name; for an unknown one raise a UserError that suggests another."""
    if name in CORPORA:
        return CORPORA[name]
    raise UserError(f"no corpus '{name}'", suggestion(name, CORPORA))


def suggestion(word: str, known: Iterable[str], prefix: str = "") -> str:
    """Return a remedy for a mistyped word: the known word that is near, or all of them.

    >>> suggestion("splt", ["split", "nj"], "--"), suggestion("qqq", ["split", "nj"])
    ('did you mean --split?', 'choose one of split, nj')
    """
    known = list(known)
    every = f"choose one of {', '.join(prefix + name for name in known)}"
    return did_you_mean(word, known, every, prefix + "{}")


_MINI_L2 = Corpus(
    "mini_l2",
    "the embedded corpus: synthesised Korean and English of learners",
    "espnet_ext.corpora.mini_l2.build",
    ("ko", "en"),
    (
        Option("langs", "ko en", "languages to synthesise", "words"),
        Option("error_level", "1", "factor on all error rates; not 1: another corpus", "real"),
        Option(
            "narrow_share", "0", "share of 8 kHz telephone speech; not 0: another corpus", "real"
        ),
        parallel(2, "number of processes"),
    ),
    makes_small_sets=True,
)

_L2ARCTIC = Corpus(
    "l2arctic",
    "L2-ARCTIC: English read by 24 speakers of six first languages, CC BY-NC 4.0",
    "espnet_ext.corpora.l2arctic",
    ("en",),
    (
        corpus_folder(
            "l2arctic", "the corpus, unpacked: a folder with <SPK>/{wav,transcript,annotation}"
        ),
        ARCHIVE,
        DOWNLOADS_DIR,
        replace(DOWNLOAD, recipe_name=""),
        SHA256,
        replace(ACCEPT_UNVERIFIED, recipe_name=""),
        FILES_AT_A_TIME,
        SKIP_UNREADABLE,
        Option(
            "split",
            "auto",
            choices=("auto", "standard", "speakers", "sentences", "disjoint"),
            help="standard: the six test speakers of published results; disjoint: the set test "
            "shares neither speakers nor sentences with training; auto: standard if speakers are "
            "left to train on, else speakers or sentences",
        ),
        Option("test_speakers", "", "test speakers of --split disjoint", "words"),
        Option("fold", "1", "quarter of the sentences that --split disjoint holds out", "count"),
        Option(
            "unannotated",
            "train",
            choices=("train", "all", "none"),
            help="sets that get the utterances without phone annotation (they have only words)",
        ),
        UNIDENTIFIED,
        Option("suitcase", "false", "add the spontaneous narratives", "boolean"),
    ),
    optional_sets=("test_seen",),
)

_SPEECHOCEAN762 = Corpus(
    "speechocean762",
    "speechocean762: English read by 250 Mandarin speakers, CC BY 4.0",
    "espnet_ext.corpora.speechocean762",
    ("en",),
    (
        corpus_folder(
            "speechocean762",
            "the corpus, unpacked: the folder with train, test, WAVE and resource",
        ),
        ARCHIVE,
        DOWNLOADS_DIR,
        DOWNLOAD,
        SHA256,
        ACCEPT_UNVERIFIED,
        FILES_AT_A_TIME,
        SKIP_UNREADABLE,
    ),
)

_AIHUB505 = Corpus(
    "aihub505",
    "AI Hub 505: Korean by speakers of other languages, read and free",
    "espnet_ext.corpora.aihub505",
    ("ko",),
    (
        corpus_folder(
            "aihub505", "the data set as delivered, packed or unpacked: a folder, or one zip"
        ),
        PROCESSES,
        DISFLUENCIES,
        UNINTELLIGIBLE,
        SKIP_UNREADABLE,
        AIHUB_SPLIT,
        *PRIVACY,
    ),
)

_AIHUB_L2 = Corpus(
    "aihub_l2",
    "AI Hub 71469 to 71479, 71463: learners' speech, read and free",
    "espnet_ext.corpora.aihub_l2",
    ("ko", "en"),
    (
        corpus_folder(
            "aihub_l2", "the data set as delivered, packed or unpacked: a folder, or one zip"
        ),
        Option("lang", "ko", "spoken language", choices=("ko", "en"), recipe_name="langs"),
        Option(
            "read_tasks",
            "LAR RS RW RP",
            "codes, in file names, of the tasks in which a prompt is read aloud",
            "words",
        ),
        PROCESSES,
        DISFLUENCIES,
        UNINTELLIGIBLE,
        SKIP_UNREADABLE,
        AIHUB_SPLIT,
        *PRIVACY,
    ),
    one_language=True,
)

_KSPONSPEECH = Corpus(
    "ksponspeech",
    "KsponSpeech (AI Hub 123): spontaneous Korean, transcribed as pronounced and as spelled",
    "espnet_ext.corpora.ksponspeech",
    ("ko",),
    (
        corpus_folder("ksponspeech", "the corpus as delivered, packed or unpacked"),
        Option(
            "labels",
            "auto",
            choices=("auto", "trn", "txt"),
            help="trn: transcripts from the published lists; txt: from the files beside the audio; "
            "auto: from the lists if there are any",
        ),
        PROCESSES,
        replace(
            DISFLUENCIES,
            choices=("keep", "surface", "drop"),
            help="fillers and repetitions: keep, keep in the surface only, or drop",
        ),
        UNINTELLIGIBLE,
        SKIP_UNREADABLE,
    ),
    sets=("train", "dev", "eval_clean", "eval_other"),
)

_COMMONVOICE = Corpus(
    "commonvoice",
    "Common Voice: sentences read by volunteers, CC0",
    "espnet_ext.corpora.commonvoice",
    (),
    (
        corpus_folder(
            "commonvoice", "the corpus, unpacked: cv-corpus-<version>, or one locale of it"
        ),
        Option("langs", "en", "locales to prepare", "words"),
        Option(
            "train",
            "train",
            choices=("train", "validated", "other"),
            help="train: the official training set; validated, other: all clips of speakers who "
            "are not in the validation and test sets",
            recipe_name="train_clips",
        ),
        Option(
            "text",
            "words",
            choices=("words", "raw"),
            help="words: sentences in lower case without punctuation; raw: sentences as published",
        ),
        FILES_AT_A_TIME,
        SKIP_UNREADABLE,
    ),
)

_EPADB = Corpus(
    "epadb",
    "EpaDB: English read by speakers of Argentinian Spanish, for research",
    "espnet_ext.corpora.epadb",
    ("en",),
    (
        corpus_folder(
            "epadb", "the corpus, unpacked: the folder with train and test, or with speakers"
        ),
        Option(
            "allophones",
            "fold",
            choices=("fold", "keep"),
            help="Th, Kh, Ph, AX: fold them to T, K, P, AH, or keep them as annotated",
        ),
        UNIDENTIFIED,
        FILES_AT_A_TIME,
        SKIP_UNREADABLE,
    ),
)

_SPEAKANDIMPROVE = Corpus(
    "speakandimprove",
    "Speak & Improve Corpus 2025: spontaneous speech of learners of English",
    "espnet_ext.corpora.speakandimprove",
    ("en",),
    (
        corpus_folder(
            "speakandimprove", "the corpus: the folder with reference-materials and data/flac"
        ),
        Option("hesitation", "uh", "word for a hesitation; none: drop hesitations"),
        Option("partials", "true", "keep words that were broken off (univers-)", "boolean"),
        FILES_AT_A_TIME,
        SKIP_UNREADABLE,
    ),
)

_PLAIN = Corpus(
    "plain",
    "any corpus, from one table: separated text, or .xlsx",
    "espnet_ext.corpora.plain",
    (),
    (
        Option(
            "manifest",
            None,
            "table of the corpus: one row per utterance, columns by name",
            "path",
            required_group="corpus",
        ),
        Option("lang", "en", "language of rows without one", recipe_name="langs"),
        Option("langs", "", "languages that are used: rows of others get a note", "words"),
        Option(
            "phones",
            "cmu",
            choices=("cmu", "keep"),
            help="English phones: cmu: AO1, ao and unambiguous IPA become AO; keep: as written",
        ),
        Option(
            "missing",
            "nan NaN NA N/A n/a #N/A <NA> None NULL NaT",
            "cells that mean an empty cell",
            "words",
        ),
        SKIP_UNREADABLE,
    ),
)

_MUST_C = Corpus(
    "must_c",
    "MuST-C: English talks with translations into other languages, CC BY-NC-ND 4.0",
    "espnet_ext.corpora.must_c",
    (),
    (
        corpus_folder(
            "must_c", "the corpus, unpacked: <pair>/data/<split>, or data/<pair>/<split>"
        ),
        *TRANSLATION,
        PROCESSES,
        SKIP_UNREADABLE,
    ),
    optional_sets=("test_he",),
    one_language=True,
)

_MINI_ST = Corpus(
    "mini_st",
    "generated English sentences with Korean translations, synthesised",
    "espnet_ext.corpora.mini_st",
    ("en",),
    (parallel(2, "number of processes"),),
    makes_small_sets=True,
)

CORPORA: dict[str, Corpus] = {
    corpus.name: corpus
    for corpus in (
        _MINI_L2,
        _L2ARCTIC,
        _SPEECHOCEAN762,
        _AIHUB505,
        _AIHUB_L2,
        _KSPONSPEECH,
        _COMMONVOICE,
        _EPADB,
        _SPEAKANDIMPROVE,
        _MUST_C,
        _MINI_ST,
        _PLAIN,
    )
}


def _elsewhere(lang: str) -> str:
    """Return where data of a language can come from, as a remedy."""
    remedy = (
        f"add your own data of another language: `espnet-ext new_corpus NAME --lang {lang}` "
        "(egs2/TEMPLATE/dual1/README.md)"
    )
    if not is_known(lang):
        known = " ".join(sorted(set(LANGUAGES.values())))
        return f"{remedy}; the name {lang} is unknown, the known codes are: {known}"
    others = [c.name for c in CORPORA.values() if lang in c.languages and c.name != "mini_l2"]
    if not others:
        return remedy
    return f"use the recipe of a corpus that has {lang} ({', '.join(others)}), or {remedy}"
