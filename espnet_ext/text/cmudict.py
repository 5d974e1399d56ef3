"""The CMU Pronouncing Dictionary: 126,000 English words with all pronunciations and stress.

`cmudict.dict.xz` is the published file `cmudict.dict`, compressed but not changed. Its licence
(two-clause BSD) is in `cmudict.LICENSE.txt`.
"""

import functools
import lzma
import re
from pathlib import Path

FILE = Path(__file__).with_name("cmudict.dict.xz")
LICENSE = Path(__file__).with_name("cmudict.LICENSE.txt")


@functools.cache
def lexicon() -> dict[str, tuple[str, ...]]:
    """Return the dictionary: lower-case word → pronunciations, the most common one first.

    A pronunciation is a string of phones with stress digits, separated by spaces.

    >>> lexicon()["tomato"]
    ('T AH0 M EY1 T OW2', 'T AH0 M AA1 T OW2')
    """
    text = lzma.decompress(FILE.read_bytes()).decode("utf-8")
    entries: dict[str, tuple[str, ...]] = {}
    for word, phones in re.findall(r"^([^\s(]+)(?:\(\d+\))? ([^#\n]+)", text, re.M):
        entries[word] = (*entries.get(word, ()), phones.strip())
    return entries
