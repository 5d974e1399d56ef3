"""What a language and its token types imply for scoring.

Needs only the standard library of Python 3.9.
"""

from __future__ import annotations

import re
from collections.abc import Mapping


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
