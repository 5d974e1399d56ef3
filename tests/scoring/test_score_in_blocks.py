"""Scores that are summed over blocks are those of all utterances at once."""

import json
import random
import shutil
import tracemalloc
from collections import Counter
from pathlib import Path

import pytest
from brute_force import edit_distance
from make_set import data_directory, hypothesis_folder, table

from espnet_ext.data import table as tables
from espnet_ext.data.directory import read_directory
from espnet_ext.errors import UserError
from espnet_ext.files import atomic_append, write_json
from espnet_ext.scoring import bootstrap, sclite, score
from espnet_ext.scoring.counts import Counts, align_texts, count_all_edits, tokenize
from espnet_ext.scoring.divergence import DISTANCE_BINS, distance_bin
from espnet_ext.scoring.normal_form import comparison_form, token_type_of
from espnet_ext.scoring.references import labels_sha256
from espnet_ext.scoring.set_scorer import SetScorer
from espnet_ext.text.lexicon import make_pronouncer
from espnet_ext.text.tags import split_tags

LEXICON = {"see": "S IY", "me": "M IY", "eat": "IY T"}
PHONES = ("S", "IY1", "IY", "M", "T", "AH0")
WORDS = ("see", "me", "eat", "zzyx", "\uff34\uff36", "cafe\u0301", "<unk>", "국물")
OPTIONS = {"resamples": 40, "seed": 7}
METRICS = {"phone": ("per",), "char": ("cer", "wer"), "label": ("wer",)}


class MadeSet:
    """A random set on disk with its texts as they are: kind → utterance → text.

    It has missing and `<na>` rows, inline tags, first languages and bands, and texts that are not
    in normal form.
    """

    def __init__(self, place: Path, token_types: dict[str, str], utterances: int = 23):
        chance = self.chance = random.Random(utterances)
        self.token_types = token_types
        self.out = place / "exp/m/decode/test"
        names = [f"{speaker}-{number}" for speaker in "cab" for number in range(utterances)]
        self.speakers = {name: name[0] for name in sorted(chance.sample(names, utterances))}
        kinds = dict.fromkeys([*token_types, "canonical"])
        self.references = {kind: self._rows(kind) for kind in kinds}
        self.hypotheses = {kind: self._rows(kind) for kind in token_types}
        self.data = data_directory(place / "data", self.speakers, self.references)
        hypothesis_folder(self.out, self.hypotheses)
        self.l1 = self._labels("vi", "zh")
        self.bands = self._labels("narrow", "wide")
        table(self.data / "utt2l1", self.l1)
        table(self.data / "utt2band", self.bands)
        (place / "lexicon").write_text("".join(f"{w} {p}\n" for w, p in LEXICON.items()))
        self.lexicon = place / "lexicon"

    def _labels(self, *values: str) -> dict[str, str]:
        return {i: self.chance.choice(values) for i in self.speakers if self.chance.random() < 0.8}

    def _rows(self, kind: str) -> dict[str, str]:
        rows = {}
        for utt_id in self.speakers:
            if (number := self.chance.random()) < 0.8:
                rows[utt_id] = self._text(kind) if number > 0.1 else "<na>"
        return rows

    def _text(self, kind: str) -> str:
        token_type = token_type_of(kind, self.token_types)
        if token_type == "label":
            return self.chance.choice(["Hindi", "Thai"])
        tokens = self.chance.choices(PHONES if token_type == "phone" else WORDS, k=4)
        if kind == "meaning" and self.chance.random() < 0.5:
            tokens.append(self.chance.choice(["<l1:Hindi>", "<l1:Thai>", "<age:7>"]))
        return " ".join(tokens[self.chance.randrange(5) :])

    def score(self, leave_out: bool = False) -> dict:
        return score.score_directory(
            self.data,
            self.out,
            self.token_types,
            lexicon=self.lexicon,
            leave_out_missing=leave_out,
            **OPTIONS,
        )

    def written(self) -> dict[str, str]:
        """Return the contents of all result files."""
        place = self.out.parent
        files = [*self.out.glob("*.json"), *place.glob("test.*/score_*/*")]
        return {str(path.relative_to(place)): path.read_text("utf-8") for path in files}


SETS = {
    "letters": {"surface": "char", "meaning": "char", "l1": "label"},
    "phones": {"surface": "phone", "meaning": "char"},
}


class WholeSet:
    """What is expected, computed on all utterances at once."""

    def __init__(self, made: MadeSet, leave_out: bool):
        self.made, self.leave_out = made, leave_out
        self.types = made.token_types
        self.references, self.reference_tags = self._split(made.references)
        self.hypotheses, self.hypothesis_tags = self._split(made.hypotheses)
        self.pronounce = make_pronouncer(LEXICON)

    def _split(self, rows: dict) -> tuple[dict, dict]:
        texts: dict = {kind: {} for kind in rows}
        tags: dict = {kind: {} for kind in rows}
        for kind, of_kind in rows.items():
            for utt_id, text in of_kind.items():
                if text != "<na>":
                    compared = comparison_form(text, token_type_of(kind, self.types))
                    texts[kind][utt_id], tags[kind][utt_id] = split_tags(compared)
        return texts, tags

    def distances(self) -> dict[str, int]:
        is_phones = self.types["surface"] == "phone"
        left = self.references["canonical" if is_phones else "meaning"]
        right = self.references["surface"]
        units = str.split if is_phones else list
        return {
            i: edit_distance(units(left[i]), units(right[i]))
            for i in self.made.speakers
            if i in left and i in right
        }

    def pairs(self, hypothesis: str, reference: str) -> tuple[dict[str, tuple[str, str]], Counter]:
        """Return utterance → (reference, hypothesis) of a cell, and the counts of others."""
        is_phones = [self.types[kind] == "phone" for kind in (hypothesis, reference)]
        by_canonical, by_lexicon = is_phones == [True, False], is_phones == [False, True]
        pairs, counts = {}, Counter()
        for utt_id in self.made.speakers:
            label = self.references["canonical" if by_canonical else reference].get(utt_id)
            recognised = self.hypotheses[hypothesis].get(utt_id)
            if utt_id not in self.references[reference] or label is None:
                counts["unlabelled"] += 1
            elif recognised is None and self.leave_out:
                counts["no_hypothesis"] += 1
            elif by_lexicon and recognised and self.pronounce(recognised) is None:
                counts["not_comparable"] += 1
            else:
                text = recognised or ""
                pairs[utt_id] = label, self.pronounce(text) if by_lexicon and text else text
                counts["missing_hypotheses"] += recognised is None
        return pairs, counts


def record(alignments: list[str]) -> dict:
    counts = count_all_edits(alignments)
    return {name: getattr(counts, name) for name in ("rate", "errors", "tokens", *Counts.__slots__)}


def summary(alignments: dict[str, str], speakers: dict[str, str]) -> dict:
    """Return edit counts and the interval over speakers in the order in which they occur."""
    by_speaker: dict[str, list[str]] = {}
    for utt_id, alignment in alignments.items():
        by_speaker.setdefault(speakers[utt_id], []).append(alignment)
    sums = [count_all_edits(rows) for rows in by_speaker.values()]
    interval = bootstrap.interval([s.errors for s in sums], [s.tokens for s in sums], **OPTIONS)
    return {**record(list(alignments.values())), "interval": interval}


def grouped(alignments: dict[str, str], groups: dict[str, str]) -> dict[str, dict[str, str]]:
    result: dict[str, dict[str, str]] = {}
    for utt_id, alignment in alignments.items():
        if utt_id in groups:
            result.setdefault(groups[utt_id], {})[utt_id] = alignment
    return result


def confusions(pairs: dict, alignments: dict[str, str], metric: str) -> list:
    counts: Counter = Counter()
    for utt_id, (reference, hypothesis) in pairs.items():
        left, right = (iter(tokenize(text, metric)) for text in (reference, hypothesis))
        for kind in alignments[utt_id]:
            edit = (next(left) if kind != "i" else ""), (next(right) if kind != "d" else "")
            counts[edit] += kind != "="
    rows = [(*edit, number) for edit, number in counts.items() if number]
    return sorted(rows, key=lambda row: (-row[2], row[:2]))[:100]


@pytest.mark.parametrize("leave_out", [False, True])
@pytest.mark.parametrize("kind", SETS)
@pytest.mark.parametrize("size", [1, 2, 3])
def test_sums_over_blocks_are_those_of_the_whole_set(size, kind, leave_out, tmp_path, monkeypatch):
    made = MadeSet(tmp_path, SETS[kind])
    whole = WholeSet(made, leave_out)
    monkeypatch.setattr(score, "_BLOCK", size)
    result = made.score(leave_out)
    distances = whole.distances()
    bins = {utt_id: distance_bin(distance) for utt_id, distance in distances.items()}
    columns, seen = {}, Counter()
    for cell in result["cells"]:
        pairs, counts = whole.pairs(cell["hypothesis"], cell["reference"])
        assert cell["utterances"] == len(pairs)
        for name in ("unlabelled", "no_hypothesis", "not_comparable", "missing_hypotheses"):
            assert cell[name] == counts[name]
            seen[name] += counts[name]
        is_phones = "phone" in {whole.types[cell["hypothesis"]], whole.types[cell["reference"]]}
        metrics = METRICS["phone" if is_phones else whole.types[cell["reference"]]]
        assert list(cell["metrics"]) == list(metrics)
        for metric in metrics:
            left, right = ([pair[side] for pair in pairs.values()] for side in (0, 1))
            aligned = dict(zip(pairs, align_texts(left, right, metric), strict=True))
            assert cell["metrics"][metric] == summary(aligned, made.speakers)
            for name, groups in (("speakers", made.speakers), ("l1", made.l1)):
                expected = {
                    g: record(list(a.values())) for g, a in grouped(aligned, groups).items()
                }
                assert {group: row[metric] for group, row in cell[name].items()} == expected
            for band, of_band in grouped(aligned, made.bands).items():
                assert cell["bands"][band][metric] == summary(of_band, made.speakers)
            folder = f"test.{cell['name']}/score_{metric}"
            for file, side in (("ref.trn", 0), ("hyp.trn", 1)):
                tokens = {i: tokenize(pair[side], metric) for i, pair in pairs.items()}
                expected_text = sclite.trn(made.speakers, tokens)
                assert made.written()[f"{folder}/{file}"] == expected_text
            if metric == cell["metric"]:
                columns[cell["name"]] = aligned
                if cell["own"]:
                    assert cell["confusions"] == confusions(pairs, aligned, metric)
                    rows = result["divergence"]["cells"][cell["name"]]
                    by_bin = grouped(aligned, bins)
                    for row, (name, _) in zip(rows, DISTANCE_BINS, strict=True):
                        of_bin = summary(by_bin.get(name, {}), made.speakers)
                        assert row["utterances"] == len(by_bin.get(name, {}))
                        for key in ("rate", "interval", "errors", "tokens"):
                            assert row[key] == of_bin[key]
    assert set(columns) >= {"surface-surface", "meaning-meaning", "surface-meaning"}
    assert seen["unlabelled"] and seen["no_hypothesis" if leave_out else "missing_hypotheses"]
    assert bool(seen["not_comparable"]) == (kind == "phones")
    sizes = Counter(bins.values())
    assert [row["utterances"] for row in result["divergence"]["bins"]] == [
        sizes[name] for name, _ in DISTANCE_BINS
    ]
    assert result["data"]["source_sha256"] == labels_sha256(
        read_directory(made.data, empty_texts=True)
    )
    check_tags(result["tags"], whole)
    rows = json.loads((made.out / "utterances.json").read_text("utf-8"))["utterances"]
    assert [row["id"] for row in rows] == list(made.speakers)
    for row in rows:
        utt_id = row["id"]
        aligned = {name: rows[utt_id] for name, rows in columns.items() if utt_id in rows}
        assert {name: cell["columns"] for name, cell in row["cells"].items()} == aligned
        assert row["distance"] == distances.get(utt_id)
        assert (row["l1"], row["band"]) == (made.l1.get(utt_id), made.bands.get(utt_id))
        for name, texts in (("texts", whole.references), ("hypotheses", whole.hypotheses)):
            present = {k: rows[utt_id] for k, rows in texts.items() if utt_id in rows}
            empty = {} if leave_out or name == "texts" else dict.fromkeys(texts, "")
            assert row[name] == empty | present


def check_tags(rows: list[dict], whole: WholeSet) -> None:
    """Compare the errors of tags with counts over all utterances of the meaning."""
    references, hypotheses = whole.reference_tags["meaning"], whole.hypothesis_tags["meaning"]
    scored = [i for i in references if i in hypotheses or not whole.leave_out]
    assert [row["tag"] for row in rows] == ["age", "l1"]
    for row in rows:
        values = [
            (references[i].get(row["tag"]), hypotheses.get(i, {}).get(row["tag"])) for i in scored
        ]
        labelled = [pair for pair in values if pair[0]]
        assert row["utterances"] == len(labelled)
        assert row["wrong"] == sum(left != right for left, right in labelled)
        assert row["missing"] == sum(right is None for _, right in labelled)
        assert row["invented"] == sum(left is None and right is not None for left, right in values)


@pytest.mark.parametrize("kind", SETS)
def test_files_do_not_depend_on_the_size_of_blocks(kind, tmp_path, monkeypatch):
    made = MadeSet(tmp_path, SETS[kind])
    made.score()
    expected = made.written()
    path = made.out / "utterances.json"
    copy = tmp_path / "copy.json"
    write_json(copy, json.loads(path.read_text("utf-8")))
    assert path.read_bytes() == copy.read_bytes()
    for size in (1, 3, 22):
        monkeypatch.setattr(score, "_BLOCK", size)
        made.score()
        assert made.written() == expected


@pytest.mark.parametrize("kind", SETS)
def test_order_of_rows_does_not_matter(kind, tmp_path, monkeypatch):
    made = MadeSet(tmp_path, SETS[kind])
    monkeypatch.setattr(score, "_BLOCK", 2)
    made.score()
    expected = made.written()
    for path in (*made.out.glob("text.*"), *made.data.glob("text.*")):
        lines = path.read_text("utf-8").splitlines(keepends=True)
        made.chance.shuffle(lines)
        path.write_text("".join(lines), encoding="utf-8")
    made.score()
    assert made.written() == expected


def test_interrupted_scoring_leaves_earlier_results(tmp_path, monkeypatch):
    made = MadeSet(tmp_path, SETS["letters"])
    made.score()
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    monkeypatch.setattr(score, "_BLOCK", 2)
    add = SetScorer.add
    blocks = []

    def interrupt(self, *args):
        if len(blocks) == 3:
            raise KeyboardInterrupt
        blocks.append(args)
        return add(self, *args)

    monkeypatch.setattr(SetScorer, "add", interrupt)
    with pytest.raises(KeyboardInterrupt):
        made.score(leave_out=True)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_last_hypothesis_of_unknown_utterance_is_an_error_before_anything_is_written(
    tmp_path, monkeypatch
):
    made = MadeSet(tmp_path, SETS["letters"])
    monkeypatch.setattr(score, "_BLOCK", 1)
    with (made.out / "text.meaning").open("a", encoding="utf-8") as handle:
        handle.write("zz-1 물\n")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UserError, match="text.meaning: zz-1: not in"):
        made.score()
    assert sorted(tmp_path.rglob("*")) == before


def test_file_that_cannot_be_appended_to_is_named(tmp_path):
    with (
        pytest.raises(UserError, match="folder/ref.trn: cannot write"),
        atomic_append(tmp_path / "folder/ref.trn") as append,
    ):
        append("a\n")
        shutil.rmtree(tmp_path / "folder")
        append("b\n")


def test_memory_does_not_grow_with_utterances(tmp_path, monkeypatch):
    monkeypatch.setattr(score, "_BLOCK", 20)
    monkeypatch.setattr(tables, "_BLOCK_BYTES", 400)
    types = {"surface": "char", "meaning": "char"}
    peaks = []
    for number, size in enumerate((50, 50, 350)):  # the first fills caches
        made = MadeSet(tmp_path / str(number), types, utterances=size)
        tracemalloc.start()
        made.score()
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[2] - peaks[1] < 300 * 250  # bytes
