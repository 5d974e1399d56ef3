"""For any content of annotation files: no parser crashes, and every lost utterance is reported."""

import io
import json
import os
import random
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parents[1] / "corpora"))

from published import (  # noqa: E402
    detail,
    long_textgrid,
    prepare_corpus,
    short_textgrid,
    word,
    write_l2arctic,
    write_sound,
    write_speechocean762,
)

from espnet_ext.corpora import download, l2arctic, speechocean762  # noqa: E402
from espnet_ext.corpora.expert_scores import insertions, utterance_scores  # noqa: E402
from espnet_ext.corpora.l2arctic import parse_label  # noqa: E402
from espnet_ext.corpora.preparation import Report  # noqa: E402
from espnet_ext.corpora.textgrid import read_textgrid  # noqa: E402
from espnet_ext.data.directory import read_directory, write_directory  # noqa: E402
from espnet_ext.errors import UserError  # noqa: E402
from espnet_ext.text.phones import is_phone  # noqa: E402

LABELS = st.one_of(
    st.text(max_size=12),
    st.lists(
        st.sampled_from(
            ["AH0", "ah", " S ", "ERR", "sil", "sp", "spn", "", "*", "T*", "QX", "s", "d", "a", "`"]
        ),
        max_size=5,
    ).map(",".join),
)
OUTPUTS = ("surface", "canonical")


@settings(max_examples=200, deadline=None)
@given(LABELS)
def test_label_is_phones_or_has_a_problem(label):
    parsed = parse_label(label)
    for part in (parsed.canonical, parsed.perceived):
        assert part in (None, "", "ERR") or is_phone(part)
    assert (None in (parsed.canonical, parsed.perceived)) == bool(parsed.problem)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(LABELS, max_size=8),
    st.sampled_from([long_textgrid, short_textgrid]),
    st.integers(0, 2**32),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
    st.integers(0, 4),
)
@example(["AH"], long_textgrid, 0, "utf-8", 0)
def test_damaged_annotation_has_transcripts_or_reasons(labels, form, seed, encoding, damage):
    chance = random.Random(seed)
    content = bytearray(form(words=["a"], phones=labels).encode(encoding, "replace"))
    for _ in range(damage):
        place = chance.randrange(len(content))
        if chance.random() < 0.5:
            del content[place : place + chance.randrange(40)]
        else:
            inserted = [b'"', b"1e999", b"-5", b"\0", b"\xff", b"\n", b" "]
            content[place:place] = chance.choice(inserted)
        if not content:
            break
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "a.TextGrid")
        path.write_bytes(content)
        try:
            read_textgrid(path)
        except UserError as error:
            assert str(path) in error.message and error.remedy
        report = Report("l2arctic")
        texts = l2arctic.read_annotation(path, report, "X-a")
    for output in OUTPUTS:
        assert (output in texts) != (output in report.unlabelled.get("X-a", {}))
    for text in texts.values():
        assert text and all(is_phone(phone) for phone in text.split())


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 9)
    | st.floats()
    | st.text(max_size=6)
    | st.sampled_from(["RED", "R EH1 D", "R*", "<unk>", "<DEL>", "[L]", "R [", "(EH0)", "index"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                [
                    "words",
                    "text",
                    "phones",
                    "mispronunciations",
                    "index",
                    "accuracy",
                    "canonical-phone",
                    "pronounced-phone",
                    "phones-accuracy",
                ]
            ),
            inner,
        )
    ),
    max_leaves=12,
)


@st.composite
def entries(draw):
    """A valid entry of scores.json in which one value is replaced by any JSON."""
    entry = {"text": "RED", "accuracy": 8, "words": [word("RED", "R EH1 D", (0, "R", "L"))]}
    place = draw(st.sampled_from(["", "words", "word", "phones", "errors", "index", "phone"]))
    value = draw(JSON)
    first_word = entry["words"][0]
    match place:
        case "words":
            entry["words"] = value
        case "word":
            entry["words"] = [value]
        case "phones":
            first_word["phones"] = value
        case "errors":
            first_word["mispronunciations"] = value
        case "index":
            first_word["mispronunciations"][0]["index"] = value
        case "phone":
            first_word["mispronunciations"][0]["pronounced-phone"] = value
    return draw(st.sampled_from([entry, value]))


@settings(max_examples=200, deadline=None)
@given(entries(), JSON, st.sampled_from(["RED", "", "BLUE"]))
def test_scores_have_transcripts_or_reasons(entry, experts, text):
    report = Report("speechocean762")
    texts = speechocean762.read_scores(entry, text, "1-1", report, experts)
    missing = report.unlabelled.get("1-1", {})
    for output in ("meaning", *OUTPUTS):
        assert (output in texts) != (output in missing), output
    for output in texts.keys() & set(OUTPUTS):
        assert all(is_phone(phone) for phone in texts[output].split())
    assert isinstance(utterance_scores(entry, experts), str)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.text("B{}()[]EHL0 *<unk>", max_size=15), max_size=5) | JSON)
def test_insertions_are_phones_at_positions_of_the_word(transcripts):
    agreed, minority, problem = insertions(transcripts, ["B", "EH"])
    assert all(0 <= place <= 2 for place in agreed) and minority >= 0
    assert all(is_phone(phone) for phones in agreed.values() for phone in phones)
    assert not (agreed and problem)


FEW = {"max_examples": 25, "deadline": None, "suppress_health_check": [HealthCheck.too_slow]}


@settings(**FEW)
@given(st.data())
def test_every_utterance_of_l2arctic_is_kept_or_reported(data):
    """Random files are removed, emptied or replaced; each utterance is kept or reported."""
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        stems = {f"a{i}": ("Hi you", ["HH", "AY,AA,s"]) for i in range(3)}
        write_l2arctic(root, {speaker: stems for speaker in ("ABA", "NCC", "TLV")})
        for path in sorted(root.glob("*/*/*")):
            change = data.draw(st.sampled_from(["keep"] * 6 + ["remove", "empty", "replace"]))
            if change == "remove" or (change == "empty" and path.suffix == ".wav"):
                path.unlink()
            elif change == "empty":
                path.write_bytes(b"")
            elif change == "replace" and path.suffix != ".wav":
                path.write_text(data.draw(st.text(max_size=30)), encoding="utf-8", newline="")
        names = {f"{path.parts[-3]}-{path.stem}" for path in root.glob("*/*/*")}
        report = Report("l2arctic")
        try:
            sets = prepare_corpus(
                l2arctic, root, unannotated="all", split="speakers", report=report
            )
        except UserError as error:
            assert error.remedy
            return
        assert_every_utterance_is_reported(names, sets, report)
        for name, part in sets.items():
            write_directory(root / "data" / name, part)
            assert len(read_directory(root / "data" / name)) == len(part)


def assert_every_utterance_is_reported(names, sets, report):
    kept = {item.utt_id: item for part in sets.values() for item in part}
    assert kept.keys() | report.left_out.keys() >= names
    assert not kept.keys() & report.left_out.keys()
    for utt_id, utterance in kept.items():
        for output in ("surface", "canonical", "meaning"):
            assert output in utterance.texts or report.unlabelled[utt_id][output]


@settings(**FEW)
@given(st.data())
def test_every_utterance_of_speechocean762_is_kept_or_reported(data):
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        words = [word("RED", "R EH1 D", (0, "R", "L"))]
        parts = {
            "train": {f"{n:04}": [(f"{n:04}1", words)] for n in range(1, 13)},
            "test": {"0099": [("00991", words), ("00992", words)]},
        }
        write_speechocean762(root, parts)
        for name in ("scores.json", "scores-detail.json"):
            table = {
                utt_id: data.draw(st.one_of(entries(), st.just(detail(words))))
                for utt_id in ("00011", "00021", "00991")
            }
            path = root / "resource" / name
            known = json.loads(path.read_text()) if path.exists() else {}
            path.write_text(json.dumps({**known, **table}))
        for name in data.draw(st.sets(st.sampled_from(["text", "spk2age"]))):
            rows = (root / "train" / name).read_text().splitlines()
            (root / "train" / name).write_text("".join(f"{row}\n" for row in rows[2:]))
        names = {
            f"{speaker}-{utterance}"
            for speakers in parts.values()
            for speaker, utterances in speakers.items()
            for utterance, _ in utterances
        }
        report = Report("speechocean762")
        sets = prepare_corpus(speechocean762, root, report=report)
        assert_every_utterance_is_reported(names, sets, report)
        for name, part in sets.items():
            write_directory(root / "data" / name, part)
            assert read_directory(root / "data" / name) == sorted(
                part, key=lambda item: item.utt_id
            )


NAMES = st.lists(
    st.sampled_from(["..", ".", "", "a", "b.wav", "~", "C:", "a\\b", "\\", "..\\..", "é", " "]),
    min_size=1,
    max_size=5,
).map("/".join)


@pytest.mark.parametrize("kind", ["tar", "zip"])
@settings(**FEW)
@given(names=st.lists(NAMES, min_size=1, max_size=4), link=st.booleans())
def test_archives_never_write_outside_their_folder(kind, names, link):
    with tempfile.TemporaryDirectory() as place:
        root = Path(place, "x/y/z")
        root.mkdir(parents=True)
        archive = root / f"a.{kind}"
        pack(archive, kind, names, link)
        before = outside(Path(place), root / "out")
        try:
            download.unpack(archive, root / "out", max_bytes=10_000, max_members=50)
        except UserError as error:
            assert error.remedy and not (root / "out").exists()
        assert outside(Path(place), root / "out") == before
        for path in (root / "out").rglob("*"):
            assert not path.is_symlink()


def pack(archive, kind, names, link):
    if kind == "zip":
        with zipfile.ZipFile(archive, "w") as bundle:
            for name in dict.fromkeys(names):
                bundle.writestr(name or "x", b"1")
        return
    with tarfile.open(archive, "w") as bundle:
        for name in names:
            member = tarfile.TarInfo(name)
            if link:
                member.type, member.linkname = tarfile.SYMTYPE, "../../.."
                bundle.addfile(member)
            member = tarfile.TarInfo(name + "/b")
            member.size = 1
            bundle.addfile(member, io.BytesIO(b"1"))


def outside(place, folder):
    return sorted(str(path) for path in place.rglob("*") if folder not in (path, *path.parents))


def test_too_large_files_are_refused(tmp_path, monkeypatch):
    path = tmp_path / "a.TextGrid"
    with open(path, "wb") as handle:
        os.truncate(handle.fileno(), 65 * 1024 * 1024)
    with pytest.raises(UserError, match="is too large"):
        read_textgrid(path)
    write_sound(tmp_path / "a.wav")
    words = [word("RED", "R EH1 D")]
    parts = {"train": {"0001": [("00011", words)]}, "test": {"0002": [("00021", words)]}}
    root = write_speechocean762(tmp_path / "s", parts)
    monkeypatch.setattr(speechocean762, "MAX_JSON", 10)
    with pytest.raises(UserError, match="is too large for scores"):
        prepare_corpus(speechocean762, root)
    monkeypatch.undo()
    (root / "resource/scores.json").write_text("[" * 200_000)
    with pytest.raises(UserError, match=r"scores\.json"):
        prepare_corpus(speechocean762, root)
