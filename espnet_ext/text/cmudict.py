"""The CMU Pronouncing Dictionary, whole: 126,000 words with all their pronunciations and stress.

`cmudict.dict.xz` is the published file `cmudict.dict`, compressed and otherwise as it is; its
licence (two clauses, BSD) lies beside it as `cmudict.LICENSE.txt`.
"""

import functools
import lzma
import re
from pathlib import Path

FILE = Path(__file__).with_name("cmudict.dict.xz")
LICENSE = Path(__file__).with_name("cmudict.LICENSE.txt")


@functools.cache
def lexicon() -> dict[str, tuple[str, ...]]:
    """Word (lower case) → its pronunciations, phones separated by spaces, the usual one first.

    >>> lexicon()["tomato"]
    ('T AH0 M EY1 T OW2', 'T AH0 M AA1 T OW2')
    """
    text = lzma.decompress(FILE.read_bytes()).decode("utf-8")
    entries: dict[str, tuple[str, ...]] = {}
    for word, phones in re.findall(r"^([^\s(]+)(?:\(\d+\))? ([^#\n]+)", text, re.M):
        entries[word] = (*entries.get(word, ()), phones.strip())
    return entries
