"""N-gram language models over tokens: estimated from transcripts, written and read as ARPA files.

Interpolated modified Kneser-Ney smoothing (Chen & Goodman, 1999, equations 26 to 31), with the
conventions of KenLM's `lmplz` (Heafield et al., 2013), so that either's files serve. All
probabilities are logarithms to base 10, as the format has them.
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
NEVER = -99.0  # what the format writes for a probability of zero
FALLBACK = (0.5, 1.0, 1.5)  # discounts where a text is too small or too regular to estimate them
WHITE = " \t\r\n"  # what separates fields; other spaces may be tokens
_FIELDS = re.compile(f"[{WHITE}]+")
Gram = tuple[str, ...]


@dataclass(frozen=True)
class Ngrams:
    """A back-off model.

    Args:
        order: n.
        grams: n-gram → its log probability and its back-off weight, both to base 10.
    """

    order: int
    grams: Mapping[Gram, tuple[float, float]]

    def score(self, context: Gram, token: str) -> float:
        """log10 P(token | context); tokens that the model has not are `<unk>`."""
        known = [t if (t,) in self.grams else UNKNOWN for t in context]
        context = tuple(known[-(self.order - 1) :]) if self.order > 1 else ()
        token = token if (token,) in self.grams else UNKNOWN
        weight = 0.0
        while (*context, token) not in self.grams:
            if not context:
                return weight - 100.0  # KenLM's, where a file has no <unk>
            weight += self.grams.get(context, (0.0, 0.0))[1]
            context = context[1:]
        return weight + self.grams[*context, token][0]


def estimate(transcripts: Iterable[Sequence[str]], order: int) -> Ngrams:
    """A model of tokens.

    Args:
        transcripts: tokens of each; those that are empty count as well.
        order: n, at least 2.
    """
    if order < 2:
        raise UserError(f"order {order} of an n-gram model", "give 2 or more")
    counts = _adjusted(transcripts, order)
    if not counts[0]:
        raise UserError("no transcripts to estimate an n-gram model from", "give a text with some")
    words = [gram for gram in counts[0] if gram != (BEGIN,)]
    uniform = 1.0 / (len(words) + 1)  # <unk> is one of them
    lower: dict[Gram, float] = {}
    backoffs: dict[Gram, float] = {}
    grams: dict[Gram, tuple[float, float]] = {}
    for level in counts:
        discounts = _discounts(level.values())
        total: Counter[Gram] = Counter()
        kept: defaultdict[Gram, float] = defaultdict(float)
        for gram, count in level.items():
            if gram != (BEGIN,):
                total[gram[:-1]] += count
                kept[gram[:-1]] += discounts[min(count, 3)]
        backoffs.update({context: kept[context] / total[context] for context in total})
        probabilities = {}
        for gram, count in level.items():
            if gram != (BEGIN,):
                context = gram[:-1]
                below = lower[gram[1:]] if len(gram) > 1 else uniform
                own = (count - discounts[min(count, 3)]) / total[context]
                probabilities[gram] = own + backoffs[context] * below
        lower = probabilities
        grams.update({gram: (math.log10(p), 0.0) for gram, p in probabilities.items()})
    grams[UNKNOWN,] = (math.log10(backoffs[()] * uniform), 0.0)
    grams[BEGIN,] = (NEVER, 0.0)
    for gram, (value, _) in list(grams.items()):
        if gram in backoffs:
            grams[gram] = (value, math.log10(backoffs[gram]))
    return Ngrams(order, grams)


def _adjusted(transcripts: Iterable[Sequence[str]], order: int) -> list[Counter[Gram]]:
    """Counts of each order: of occurrences at the highest, of left neighbours below.

    What begins with <s> has no left neighbour and keeps its occurrences.
    """
    highest: Counter[Gram] = Counter()
    prefixes: Counter[Gram] = Counter()
    for transcript in transcripts:
        tokens = (BEGIN, *transcript, END)
        highest.update(tokens[i : i + order] for i in range(len(tokens) - order + 1))
        prefixes.update(tokens[:size] for size in range(1, min(order, len(tokens) + 1)))
    levels = [highest]
    for size in range(order - 1, 0, -1):
        own = Counter(gram[1:] for gram in levels[0])
        own.update({gram: count for gram, count in prefixes.items() if len(gram) == size})
        levels.insert(0, own)
    return levels


def _discounts(counts: Iterable[int]) -> tuple[float, float, float, float]:
    """What is taken off counts of 1, 2, and 3 or more (first a zero for counts of none)."""
    of = Counter(min(count, 5) for count in counts)
    if not all(of[n] for n in (1, 2, 3, 4)):
        return (0.0, *FALLBACK)
    y = of[1] / (of[1] + 2 * of[2])
    found = tuple(n - (n + 1) * y * of[n + 1] / of[n] for n in (1, 2, 3))
    if any(not 0 < value <= n for n, value in enumerate(found, 1)):
        return (0.0, *FALLBACK)
    return (0.0, *found)


def write_arpa(path: str | Path, model: Ngrams) -> None:
    """Write the model as an ARPA file, whole or not at all."""
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
            own = [f"{value:.7g}", " ".join(gram)]
            lines.append("\t".join(own if size == model.order else [*own, f"{weight:.7g}"]))
    write_text(path, "\n".join([*lines, "", "\\end\\", ""]))


def read_arpa(path: str | Path) -> Ngrams:
    """Read an ARPA file, plain or compressed (`.gz`)."""
    opener = gzip.open if str(path).endswith(".gz") else open
    try:
        with opener(path, "rt", encoding="utf-8") as handle:
            return _parse(str(path), handle)
    except FileNotFoundError:
        raise UserError(f"{path}: no such n-gram model", "run stage 9, or correct it") from None
    except (OSError, UnicodeDecodeError, EOFError, zlib.error) as error:
        raise UserError(f"{path}: cannot be read: {error}", "give an ARPA file") from None


def _parse(path: str, lines: Iterable[str]) -> Ngrams:
    promised: dict[int, int] = {}
    grams: dict[Gram, tuple[float, float]] = {}
    size = 0
    for number, line in enumerate(lines, 1):
        line = line.strip(WHITE)
        if line == "\\end\\":
            break
        if not line or line == "\\data\\":
            continue
        try:
            if line.startswith("ngram "):
                order, count = line[6:].split("=")
                promised[int(order)] = int(count)
            elif line.endswith("-grams:") and line.startswith("\\"):
                size = int(line[1:-7])
            else:
                value, *rest = _FIELDS.split(line)
                gram, weight = tuple(rest[:size]), rest[size:]
                if not size or len(gram) < size or len(weight) > 1:
                    raise ValueError
                pair = float(value), float(weight[0]) if weight else 0.0
                if not (pair[0] <= 0 and math.isfinite(pair[0]) and math.isfinite(pair[1])):
                    raise ValueError
                grams[gram] = pair
        except ValueError:
            what = f"not a line of an ARPA file: {line[:60]!r}"
            remedy = "give a text file in ARPA format, not a binary of KenLM"
            raise UserError(f"{path}:{number}: {what}", remedy) from None
    else:
        raise UserError(f"{path}: ends without \\end\\", "copy it again: it is cut off")
    found = Counter(map(len, grams))
    if not promised or dict(found) != {size: n for size, n in promised.items() if n}:
        raise UserError(
            f"{path}: has {dict(found)} n-grams, its head says {promised}", "make it again"
        )
    return Ngrams(max(promised), grams)
