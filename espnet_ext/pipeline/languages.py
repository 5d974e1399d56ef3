"""Languages as codes, and what a language and its token types imply for scoring.

Needs only the standard library of Python 3.9.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from pathlib import Path

from espnet_ext.corpora.languages import LANGUAGES, is_known, spoken_language


def language_codes(langs: str, data_dir: Path) -> str:
    """Return languages as codes, which rules of pronunciation and defaults depend on.

    A language whose data is already prepared under the given name keeps it. Notes are printed.
    """
    codes = []
    for name in langs.split():
        code = spoken_language(name)
        if code != name and (data_dir / name).is_dir() and not (data_dir / code).exists():
            print(
                f"note: {data_dir / name}: rules of pronunciation need the code: name it {code}",
                file=sys.stderr,
            )
            code = name
        elif code != name:
            print(f"note: --langs {name}: read as {code}", file=sys.stderr)
        elif not is_known(name) and not (data_dir / name).is_dir():
            known = " ".join(sorted(set(LANGUAGES.values())))
            print(
                f"note: --langs {name}: unknown language, used as it is; the known codes are "
                f"{known} (or their names)",
                file=sys.stderr,
            )
        codes.append(code)
    return " ".join(codes)


def parse_pairs(value: str) -> dict[str, str]:
    """Return the pairs of "surface=phone meaning=char".

    >>> parse_pairs("surface=phone meaning=char")
    {'surface': 'phone', 'meaning': 'char'}
    """
    return dict(pair.split("=", 1) for pair in value.split())


def setting_suffix(lang: str) -> str:
    """Return the suffix of a language's settings in recipe.conf: token_types_zh_tw.

    >>> setting_suffix("zh-tw")
    'zh_tw'
    """
    return re.sub("[^a-z0-9]", "_", lang)


def mdd_unit(lang: str, token_types: Mapping[str, str]) -> str:
    """Return the unit in which mispronunciations of a language are detected.

    >>> mdd_unit("en", {"surface": "phone"}), mdd_unit("ko", {"surface": "char"})
    ('phone', 'jamo')
    """
    if token_types.get("surface") == "phone":
        return "phone"
    return "jamo" if lang == "ko" else "char"


def mdd_without_prompt(lang: str, token_types: Mapping[str, str]) -> bool:
    """Whether mispronunciations can be detected without a prompt, from the recognised meaning.

    That needs a pronunciation of the recognised words: from a lexicon of phones, or by the
    pronunciation rules of Korean.
    """
    return mdd_unit(lang, token_types) != "char"


def mdd_uses_g2p(lang: str, token_types: Mapping[str, str]) -> bool:
    """Whether recognised words that are in no lexicon can be pronounced: English phones only."""
    return lang == "en" and mdd_unit(lang, token_types) == "phone"
