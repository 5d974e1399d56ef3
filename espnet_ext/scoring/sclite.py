"""Results in the format of sclite and the folders of ESPnet, for ESPnet's own result script.

ESPnet's `show_asr_result.sh` greps "Avg" in `<exp>/<decode>/<set>/score_{wer,cer,ter}/result.txt`.
Each cell appears as a set named `<set>.<hypothesis>-<reference>`. Phone error rates are written to
`score_per` and also to `score_ter`, because the script knows no PER and a phone is a token to
ESPnet.
"""

import contextlib
import re
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from espnet_ext.files import atomic_append, write_text
from espnet_ext.scoring.counts import Counts

FOLDERS = {"cer": ("score_cer",), "wer": ("score_wer",), "per": ("score_per", "score_ter")}
_FILES = ("result.txt", "ref.trn", "hyp.trn")


def table(speakers: Mapping[str, Counts], title: str) -> str:
    """Return sclite's table "system summary percentages by speaker".

    Args:
        speakers: speaker → edit counts.

    >>> print(table({"s1": Counts(9, 1, 0, 0, 2, 1)}, "x").splitlines()[11].strip())
    | Sum/Avg |     2      10 |   90.0   10.0    0.0    0.0   10.0   50.0 |
    """
    total = sum(speakers.values(), Counts())
    width = max([7, *(len(name) for name in speakers)])
    rows = [_row(name, width, counts) for name, counts in speakers.items()]
    inner = len(rows[0]) - 2 if rows else width + 63
    header = f"| {'SPKR':<{width}} | # Snt   # Wrd |   Corr    Sub    Del    Ins    Err  S.Err |"
    lines = [
        "," + "-" * inner + ".",
        "|" + title[:inner].center(inner) + "|",
        "|" + "-" * inner + "|",
        header,
        "|" + "-" * inner + "|",
        *rows,
        "|" + "=" * inner + "|",
        _row("Sum/Avg", width, total),
        "|" + "=" * inner + "|",
        *_spread(list(speakers.values()), width),
        "`" + "-" * inner + "'",
    ]
    body = "\n".join("       " + line for line in lines)
    return f"\n\n{'SYSTEM SUMMARY PERCENTAGES by SPEAKER':^{inner + 14}}\n\n{body}\n"


def _percentages(counts: Counts) -> list[float]:
    """Return correct, substituted, deleted, inserted, errors and sentence errors in percent."""
    tokens = counts.tokens or 1
    shares = (counts.correct, counts.substitutions, counts.deletions, counts.insertions)
    return [
        *(100 * share / tokens for share in shares),
        100 * counts.errors / tokens,
        100 * counts.sentence_errors / (counts.sentences or 1),
    ]


def _row(name: str, width: int, counts: Counts) -> str:
    return _line(name, width, counts.sentences, counts.tokens, _percentages(counts), "5d", "7d")


def _line(
    name: str,
    width: int,
    sentences: float,
    tokens: float,
    percentages: Sequence[float],
    sentence_format: str,
    token_format: str,
) -> str:
    columns = " ".join(f"{value:6.1f}" for value in percentages)
    counts = f"{sentences:{sentence_format}} {tokens:{token_format}}"
    return f"| {name:<{width}} | {counts} | {columns} |"


def _spread(speakers: Sequence[Counts], width: int) -> list[str]:
    """Return the lines with mean, standard deviation and median over speakers."""
    if not speakers:
        return []
    columns = list(zip(*([c.sentences, c.tokens, *_percentages(c)] for c in speakers), strict=True))
    lines = []
    for name, function in (
        ("Mean", statistics.fmean),
        ("S.D.", lambda column: statistics.stdev(column) if len(column) > 1 else 0.0),
        ("Median", statistics.median),
    ):
        sentences, tokens, *percentages = (function(column) for column in columns)
        lines.append(_line(name, width, sentences, tokens, percentages, "5.1f", "7.1f"))
    return lines


def trn(speakers: Mapping[str, str], tokens: Mapping[str, Sequence[str]]) -> str:
    """Return transcripts in sclite's format: tokens, a tab, `(speaker-utterance)` on each line.

    Args:
        speakers: utterance → speaker.
        tokens: utterance → tokens.

    >>> trn({"s1-a": "s1"}, {"s1-a": ["국", "<space>", "물"]})
    '국 <space> 물\\t(s1-s1-a)\\n'
    """
    return "".join(
        f"{' '.join(row)}\t({speakers[utt_id]}-{utt_id})\n" for utt_id, row in tokens.items()
    )


WriteTranscripts = Callable[
    [Mapping[str, str], Mapping[str, Sequence[str]], Mapping[str, Sequence[str]]], None
]


@contextlib.contextmanager
def write_transcripts(folder: Path, metric: str) -> Iterator[WriteTranscripts]:
    """Write `score_<metric>/{ref.trn,hyp.trn}` below the folder of a cell, on success.

    Yields a function that appends utterances. Its arguments are utterance → speaker, utterance →
    reference tokens, and utterance → hypothesis tokens.
    """
    with contextlib.ExitStack() as stack:
        files = [
            (
                stack.enter_context(atomic_append(folder / name / "ref.trn")),
                stack.enter_context(atomic_append(folder / name / "hyp.trn")),
            )
            for name in FOLDERS[metric]
        ]

        def add(
            speakers: Mapping[str, str],
            references: Mapping[str, Sequence[str]],
            hypotheses: Mapping[str, Sequence[str]],
        ) -> None:
            reference_lines, hypothesis_lines = trn(speakers, references), trn(speakers, hypotheses)
            for append_reference, append_hypothesis in files:
                append_reference(reference_lines)
                append_hypothesis(hypothesis_lines)

        yield add


def write_result(folder: Path, metric: str, by_speaker: Mapping[str, Counts]) -> set[Path]:
    """Write `score_<metric>/result.txt` below the folder of a cell; return the `score_*` folders.

    Args:
        by_speaker: speaker → edit counts.
    """
    folders = {folder / name for name in FOLDERS[metric]}
    for path in folders:
        write_text(path / "result.txt", table(by_speaker, f"{folder.name} {metric}"))
    return folders


def remove_stale(parent: Path, set_name: str, written: set[Path]) -> None:
    """Remove results of cells that an earlier run wrote for this set but this run did not.

    Args:
        written: the `score_*` folders of this run.
    """
    cell = re.compile(rf"{re.escape(set_name)}\.\w+-\w+")
    for result in parent.glob("*/score_*/result.txt"):
        if cell.fullmatch(result.parent.parent.name) and result.parent not in written:
            for name in _FILES:
                (result.parent / name).unlink(missing_ok=True)
