"""N-gram language models over tokens: estimation from transcripts, and ARPA files.

Smoothing: interpolated modified Kneser-Ney (Chen & Goodman, 1999, equations 26 to 31), with the
conventions of KenLM's `lmplz` (Heafield et al., ACL 2013), so models can be exchanged with KenLM.
Probabilities are base-10 logarithms, as in the ARPA format.
"""

import gzip
import math
import re
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from espnet_ext.errors import UserError
from espnet_ext.files import write_text

BEGIN, END, UNKNOWN = "<s>", "</s>", "<unk>"
LOG10_ZERO = -99.0  # log probability 0 in the ARPA format
# Discounts for a text that is too small or too regular to estimate them
FALLBACK_DISCOUNTS = (0.5, 1.0, 1.5)
WHITE_SPACE = " \t\r\n"  # separates fields; other Unicode spaces may be tokens
_SEPARATOR = re.compile(f"[{WHITE_SPACE}]+")
Gram = tuple[str, ...]


@dataclass(frozen=True)
class Ngrams:
    """A back-off n-gram model.

    Args:
        order: the largest n.
        grams: n-gram → log10 probability and log10 back-off weight.
    """

    order: int
    grams: Mapping[Gram, tuple[float, float]]

    def score(self, context: Gram, token: str) -> float:
        """Return log10 P(token | context). Unknown tokens are scored as `<unk>`."""
        mapped = [t if (t,) in self.grams else UNKNOWN for t in context]
        context = tuple(mapped[-(self.order - 1) :]) if self.order > 1 else ()
        token = token if (token,) in self.grams else UNKNOWN
        weight = 0.0
        while (*context, token) not in self.grams:
            if not context:
                return weight - 100.0  # as in KenLM, if the model has no <unk>
            weight += self.grams.get(context, (0.0, 0.0))[1]
            context = context[1:]
        return weight + self.grams[*context, token][0]


def estimate(transcripts: Iterable[Sequence[str]], order: int) -> Ngrams:
    """Estimate an n-gram model from transcripts.

    Args:
        transcripts: the tokens of each transcript. Empty transcripts are counted too.
        order: n, at least 2.

    Raises:
        UserError: `order` is below 2, or there are no transcripts.
    """
    if order < 2:
        raise UserError(f"n-gram order {order} is too small", "use order 2 or more")
    counts = _adjusted_counts(transcripts, order)
    if not counts[0]:
        raise UserError(
            "no transcripts to estimate an n-gram model from", "give a text that has transcripts"
        )
    vocabulary = [gram for gram in counts[0] if gram != (BEGIN,)]
    uniform = 1.0 / (len(vocabulary) + 1)  # + 1 for <unk>
    lower: dict[Gram, float] = {}
    backoffs: dict[Gram, float] = {}
    grams: dict[Gram, tuple[float, float]] = {}
    for level in counts:  # unigrams first
        discounts = _discounts(level.values())
        totals: Counter[Gram] = Counter()  # context → count of its n-grams
        discounted: defaultdict[Gram, float] = defaultdict(float)  # context → sum of discounts
        for gram, count in level.items():
            if gram != (BEGIN,):
                totals[gram[:-1]] += count
                discounted[gram[:-1]] += discounts[min(count, 3)]
        backoffs.update({context: discounted[context] / totals[context] for context in totals})
        probabilities = {}
        for gram, count in level.items():
            if gram != (BEGIN,):
                context = gram[:-1]
                lower_order = lower[gram[1:]] if len(gram) > 1 else uniform
                observed = (count - discounts[min(count, 3)]) / totals[context]
                probabilities[gram] = observed + backoffs[context] * lower_order
        lower = probabilities
        grams.update({gram: (math.log10(p), 0.0) for gram, p in probabilities.items()})
    grams[UNKNOWN,] = (math.log10(backoffs[()] * uniform), 0.0)
    grams[BEGIN,] = (LOG10_ZERO, 0.0)
    for gram, (value, _) in list(grams.items()):
        if gram in backoffs:
            grams[gram] = (value, math.log10(backoffs[gram]))
    return Ngrams(order, grams)


def _adjusted_counts(transcripts: Iterable[Sequence[str]], order: int) -> list[Counter[Gram]]:
    """Return the n-gram counts of each order, unigrams first.

    N-grams of the highest order are counted by occurrence. Lower orders are counted by the number
    of distinct tokens to their left, except n-grams that begin with <s>: they have no left
    neighbour and are counted by occurrence.
    """
    highest: Counter[Gram] = Counter()
    prefixes: Counter[Gram] = Counter()
    for transcript in transcripts:
        tokens = (BEGIN, *transcript, END)
        highest.update(tokens[i : i + order] for i in range(len(tokens) - order + 1))
        prefixes.update(tokens[:size] for size in range(1, min(order, len(tokens) + 1)))
    levels = [highest]
    for size in range(order - 1, 0, -1):
        level = Counter(gram[1:] for gram in levels[0])
        level.update({gram: count for gram, count in prefixes.items() if len(gram) == size})
        levels.insert(0, level)
    return levels


def _discounts(counts: Iterable[int]) -> tuple[float, ...]:
    """Return the discounts of counts 0, 1, 2, and 3 or more (Chen & Goodman, 1999, eq. 26).

    The discount of count 0 is 0.
    """
    counts_of_counts = Counter(min(count, 5) for count in counts)
    n1, n2, n3, n4 = (counts_of_counts[count] for count in (1, 2, 3, 4))
    if not (n1 and n2 and n3 and n4):
        return (0.0, *FALLBACK_DISCOUNTS)
    y = n1 / (n1 + 2 * n2)
    discounts = (1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3)
    if any(not 0 < discount <= count for count, discount in enumerate(discounts, 1)):
        return (0.0, *FALLBACK_DISCOUNTS)
    return (0.0, *discounts)


def write_arpa(path: str | Path, model: Ngrams) -> None:
    """Write the model as an ARPA file. The file is replaced only when it is complete."""
    levels = [
        sorted(gram for gram in model.grams if len(gram) == size)
        for size in range(1, model.order + 1)
    ]
    lines = ["\\data\\"]
    lines += [f"ngram {size}={len(level)}" for size, level in enumerate(levels, 1)]
    for size, level in enumerate(levels, 1):
        lines += ["", f"\\{size}-grams:"]
        for gram in level:
            value, weight = model.grams[gram]
            fields = [f"{value:.7g}", " ".join(gram)]
            if size < model.order:
                fields.append(f"{weight:.7g}")
            lines.append("\t".join(fields))
    write_text(path, "\n".join([*lines, "", "\\end\\", ""]))


def is_arpa(path: str | Path) -> bool:
    """Return whether a file begins like an ARPA file that `write_arpa` wrote."""
    with open(path, "rb") as handle:
        return handle.readline().strip() == b"\\data\\"


def read_arpa(path: str | Path) -> Ngrams:
    """Read an ARPA file, plain or compressed (`.gz`).

    Raises:
        UserError: the file is missing, is not an ARPA file, or is incomplete.
    """
    opener = gzip.open if str(path).endswith(".gz") else open
    try:
        with opener(path, "rt", encoding="utf-8") as handle:
            return _parse(str(path), handle)
    except FileNotFoundError:
        raise UserError(
            f"{path}: no such n-gram model", "run stage 9, or correct the path"
        ) from None
    except (OSError, UnicodeDecodeError, EOFError, zlib.error) as error:
        raise UserError(f"{path}: cannot be read: {error}", "give an ARPA file") from None


def _parse(path: str, lines: Iterable[str]) -> Ngrams:
    declared: dict[int, int] = {}  # order → number of n-grams in the header
    grams: dict[Gram, tuple[float, float]] = {}
    size = 0
    for number, line in enumerate(lines, 1):
        line = line.strip(WHITE_SPACE)
        if line == "\\end\\":
            break
        if not line or line == "\\data\\":
            continue
        try:
            if line.startswith("ngram "):
                order, count = line[6:].split("=")
                declared[int(order)] = int(count)
            elif line.endswith("-grams:") and line.startswith("\\"):
                size = int(line[1:-7])
            else:
                value, *fields = _SEPARATOR.split(line)
                gram, weight = tuple(fields[:size]), fields[size:]
                if not size or len(gram) < size or len(weight) > 1:
                    raise ValueError
                pair = float(value), float(weight[0]) if weight else 0.0
                if not (pair[0] <= 0 and math.isfinite(pair[0]) and math.isfinite(pair[1])):
                    raise ValueError
                grams[gram] = pair
        except ValueError:
            raise UserError(
                f"{path}:{number}: not a line of an ARPA file: {line[:60]!r}",
                "give a text file in ARPA format, not a KenLM binary",
            ) from None
    else:
        raise UserError(f"{path}: ends without \\end\\", "the file is truncated; copy it again")
    actual = dict(Counter(map(len, grams)))
    if not declared or actual != {size: n for size, n in declared.items() if n}:
        raise UserError(
            f"{path}: contains {actual} n-grams per order, but its header declares {declared}",
            "write the file again",
        )
    return Ngrams(max(declared), grams)
