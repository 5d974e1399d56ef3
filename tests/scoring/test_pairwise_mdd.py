"""MDD by pairwise alignments: counts by hand, and against a second implementation."""

import json
import random
from collections import Counter
from pathlib import Path

import pytest

from espnet_ext.bin import mdd as command
from espnet_ext.errors import UserError
from espnet_ext.scoring import mdd
from espnet_ext.scoring.pairwise_mdd import align_pairs

# canonical, perceived, hypothesis → counts
CASES = [
    ("K AE T", "K AE T", "K AE T", {"TA": 3}),
    ("K AE T", "K EH T", "K EH T", {"TA": 2, "CD": 1}),
    ("K AE T", "K EH T", "K AE T", {"TA": 2, "FA": 1}),
    ("K AE T", "K EH T", "K IH T", {"TA": 2, "ED": 1}),
    ("K AE T", "K EH T", "K T", {"TA": 2, "ED": 1}),  # substituted, and deleted by the hypothesis
    ("K AE T", "K AE T", "K EH T", {"TA": 2, "FR": 1}),
    ("K AE T", "K AE T", "K T", {"TA": 2, "FR": 1}),
    ("K AE T", "K AE", "K AE", {"TA": 2, "CD": 1}),  # deleted
    ("K AE T", "K AE", "K AE T", {"TA": 2, "FA": 1}),
    ("K AE T", "K AE", "K AE D", {"TA": 2, "ED": 1}),
    ("S T", "S IH T", "S IH T", {"TA": 2, "CD": 1}),  # inserted
    ("S T", "S IH T", "S T", {"TA": 2, "FA": 1}),
    ("S T", "S IH T", "S AH T", {"TA": 2, "ED": 1}),
    ("S T", "S T", "S IH T", {"TA": 2}),  # only the hypothesis has it: ignored
    ("S T", "", "", {"CD": 2}),
    ("S T", "", "S", {"FA": 1, "CD": 1}),
    ("", "S", "S", {"CD": 1}),
    ("", "", "S", {}),
]


def counts_of(result):
    return {key: value for key, value in result["counts"]["with_insertions"].items() if value}


@pytest.mark.parametrize(("canonical", "perceived", "hypothesis", "expected"), CASES)
def test_counts_by_hand(canonical, perceived, hypothesis, expected):
    texts = ({"u": canonical}, {"u": perceived}, {"u": hypothesis})
    assert counts_of(mdd.evaluate(*texts, convention=mdd.LENG)) == expected


def levenshtein(a, b):
    """Return Kaldi's alignment as (phone of a, phone of b) with None for a gap."""
    costs = [[0] * (len(b) + 1) for _ in range(len(a) + 1)]
    for i in range(len(a) + 1):
        for j in range(len(b) + 1):
            if not i or not j:
                costs[i][j] = i + j
                continue
            costs[i][j] = min(
                costs[i - 1][j - 1] + (a[i - 1] != b[j - 1]),
                costs[i - 1][j] + 1,
                costs[i][j - 1] + 1,
            )
    i, j, pairs = len(a), len(b), []
    while i or j:
        deletion = costs[i - 1][j] + 1 if i else 10**9
        insertion = costs[i][j - 1] + 1 if j else 10**9
        diagonal = costs[i - 1][j - 1] + (a[i - 1] != b[j - 1]) if i and j else 10**9
        if diagonal <= min(deletion, insertion):
            i, j = i - 1, j - 1
            pairs.append((a[i], b[j]))
        elif deletion <= insertion:
            i -= 1
            pairs.append((a[i], None))
        else:
            j -= 1
            pairs.append((None, b[j]))
    return pairs[::-1]


def operation(pair):
    a, b = pair
    return "I" if a is None else "D" if b is None else "C" if a == b else "S"


def count_directly(canonical, perceived, hypothesis):
    """Count by the letters C, S, D, I of the alignments, in two passes."""
    ref_human, human_our, ref_our = (
        levenshtein(canonical, perceived),
        levenshtein(perceived, hypothesis),
        levenshtein(canonical, hypothesis),
    )
    counts = Counter()
    of_reference = [pair for pair in ref_our if pair[0] is not None]
    deleted = [operation(pair) for pair in ref_human if pair[0] is not None]
    for kind, pair in zip(deleted, of_reference, strict=True):
        if kind == "D":
            counts[{"D": "CD", "S": "ED", "C": "FA"}[operation(pair)]] += 1
    of_human = [pair for pair in human_our if pair[0] is not None]
    spoken = [pair for pair in ref_human if pair[1] is not None]
    for pair, (_, ours) in zip(spoken, of_human, strict=True):
        kind, is_equal = operation(pair), ours == pair[1]
        if kind == "C":
            counts["TA" if is_equal else "FR"] += 1
        elif kind == "S":
            counts["CD" if is_equal else "FA" if ours == pair[0] else "ED"] += 1
        else:
            counts["CD" if is_equal else "FA" if ours is None else "ED"] += 1
    return dict(counts)


@pytest.mark.parametrize("seed", range(300))
def test_counts_equal_a_direct_count(seed):
    source = random.Random(seed)
    symbols = "abcdef"[: source.randint(2, 6)]

    def change(phones):
        result = []
        for phone in phones:
            result += source.choices(
                [[phone], [], [source.choice(symbols)], [phone, source.choice(symbols)]],
                weights=(6, 1, 2, 1),
            )[0]
        return result

    canonical = source.choices(symbols, k=source.randint(0, 20))
    perceived = change(canonical)
    hypothesis = change(source.choice([canonical, perceived]))
    sequences = canonical, perceived, hypothesis
    assert align_pairs([canonical], [perceived]) == [levenshtein(canonical, perceived)]
    texts = [{"u": " ".join(phones)} for phones in sequences]
    result = mdd.evaluate(*texts, convention=mdd.LENG)
    expected = count_directly(*sequences)
    assert counts_of(result) == expected
    ta, fr, fa, cd, ed = (expected.get(name, 0) for name in mdd.OUTCOMES)
    measures = result["measures"]["with_insertions"]
    if cd + ed:
        recall, precision = (cd + ed) / (cd + ed + fa), (cd + ed) / (cd + ed + fr)
        assert measures["recall"] == pytest.approx(100 * recall)
        assert measures["precision"] == pytest.approx(100 * precision)
        assert measures["F1"] == pytest.approx(200 * precision * recall / (precision + recall))
        assert measures["DER"] == pytest.approx(100 * ed / (cd + ed))


def write(folder, **tables):
    for name, rows in tables.items():
        (folder / name).write_text("".join(f"{i} {text}\n" for i, text in sorted(rows.items())))
    return [word for name in tables for word in (f"--{name}", str(folder / name))]


def test_command_and_speakers_of_ids(tmp_path, capsys):
    """The hypothesis' additional phone is a false rejection only in the default convention."""
    ids = [f"{speaker}_{i}" for speaker in ("NJS", "TXHC") for i in range(2)]
    canonical = dict.fromkeys(ids, "S IH T")
    options = write(
        tmp_path,
        canonical=canonical,
        perceived=canonical | {"NJS_0": "S IY T"},
        hypothesis=dict.fromkeys(ids, "S IY T S"),
    )
    results = {}
    for convention in mdd.CONVENTIONS:
        path = tmp_path / f"{convention}.json"
        arguments = [*options, "--convention", convention, "--json", str(path)]
        assert command.main(arguments) == 0
        results[convention] = json.loads(path.read_text())
    output = capsys.readouterr()
    assert "Counted by three pairwise alignments" in output.out
    assert "before the first '_' counts as the speaker (2 speakers)" in output.err
    assert counts_of(results["leng"]) == {"TA": 8, "FR": 3, "CD": 1}
    assert counts_of(results["columns"]) == {"TA": 8, "FR": 7, "CD": 1}
    assert results["leng"]["convention"] == "leng"
    for result in results.values():
        assert (result["speakers"], result["speakers_from"]) == (2, "ids")
        assert result["intervals"]["detection"] is not None


def test_speakers_of_ids_are_not_guessed(tmp_path):
    options = write(tmp_path, canonical={"utt-1": "S", "utt-2": "S"})
    hypothesis = tmp_path / "recognised"
    hypothesis.write_text(Path(options[1]).read_text())
    same = ["--perceived", options[1], "--hypothesis", str(hypothesis)]
    assert command.main([*options, *same, "--json", str(tmp_path / "x.json")]) == 0
    result = json.loads((tmp_path / "x.json").read_text())
    assert (result["speakers"], result["speakers_from"], result["intervals"]) == (None,) * 3


@pytest.mark.parametrize("option", ["prompt", "meaning", "words"])
def test_leng_compares_with_canonical_phones_alone(option, tmp_path):
    options = write(tmp_path, canonical={"s1-a": "S"})
    same = ["--perceived", options[1], "--hypothesis", options[1], f"--{option}", options[1]]
    with pytest.raises(SystemExit) as error:
        command.main([*options, *same, "--convention", "leng"])
    assert error.value.code == 2
    with pytest.raises(UserError, match="uses only canonical phones"):
        mdd.evaluate({"u": "S"}, {"u": "S"}, {"u": "S"}, {"u": "S"}, convention="leng")
    with pytest.raises(UserError, match="unknown convention 'x'"):
        mdd.evaluate({"u": "S"}, {"u": "S"}, {"u": "S"}, convention="x")
