"""For any texts and ids: reading returns what was written, and validation finds no error."""

import tempfile
import unicodedata
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from espnet_ext.data.directory import read_directory, write_directory
from espnet_ext.data.record import NA, Utterance, id_problem
from espnet_ext.data.table import normalized, read_table, scan_table, write_table
from espnet_ext.data.validate import validate_directory
from espnet_ext.errors import UserError
from espnet_ext.text.unicode import normalize

CHARACTERS = st.one_of(
    st.sampled_from("가각힣ㄱㅏㅣㄳ\u1100\u1161\u11a8 \t\u00a0\u3000\u200b<>na"),
    st.characters(exclude_categories=("Cc", "Cs"), exclude_characters="\u2028\u2029"),
)
TEXTS = st.text(CHARACTERS, max_size=20)
FILLED_TEXTS = TEXTS.map(lambda text: text if normalize(text) else "가" + text)
ID_CHARACTERS = st.one_of(
    st.sampled_from("ab01-_.가é"),
    st.characters(categories=("L", "N", "P", "S", "M"), exclude_characters="/"),
)


def composed(name):
    name = unicodedata.normalize("NFC", name)
    return "x" if id_problem(name) else name  # e.g. "<na>"


IDS = st.text(ID_CHARACTERS, min_size=1, max_size=12).map(composed)
OUTPUTS = st.sampled_from(["surface", "meaning", "canonical", "tones"])


@st.composite
def utterances(draw):
    speaker = draw(IDS)
    utt_id = speaker + "-" + draw(IDS)
    if id_problem(utt_id):  # the last and the first character compose
        utt_id = speaker + "-1"
    texts = draw(st.dictionaries(OUTPUTS, FILLED_TEXTS))
    labels = {name: draw(st.none() | FILLED_TEXTS) for name in ("lang", "l1", "domain")}
    labels["band"] = draw(st.sampled_from([None, "narrow", "wide"]))
    return Utterance(utt_id, speaker, f"a/{draw(IDS)}.wav", texts, **labels)


SETS = st.lists(utterances(), min_size=1, max_size=5, unique_by=lambda item: item.utt_id)


def normalised(utterance):
    """Return the record after normalisation, the only change that writing may make."""
    texts = {name: normalize(text) for name, text in utterance.texts.items()}
    texts = {name: text for name, text in texts.items() if text != NA}
    labels = {}
    for name in ("lang", "l1", "domain", "band"):
        value = getattr(utterance, name)
        value = normalize(value) if value else None
        labels[name] = None if value == NA else value
    return Utterance(utterance.utt_id, utterance.speaker, utterance.audio, texts, **labels)


@settings(max_examples=40, deadline=None)
@given(SETS, st.booleans())
def test_directories_are_read_back_and_valid(records, fill):
    with tempfile.TemporaryDirectory() as folder:
        write_directory(folder, records, fill_missing=("surface", "meaning") if fill else ())
        expected = sorted(map(normalised, records), key=lambda item: item.utt_id.encode())
        assert read_directory(folder) == expected
        allowed = {"sentinel"}  # a transcript that contains the sentinel is kept and reported
        findings = validate_directory(folder, check_audio=False)
        errors = {finding.code for finding in findings if finding.severity == "error"}
        assert errors <= allowed
        first = {path.name: path.read_bytes() for path in Path(folder).iterdir()}
        write_directory(folder, expected, fill_missing=("surface", "meaning") if fill else ())
        assert {path.name: path.read_bytes() for path in Path(folder).iterdir()} == first


@settings(max_examples=200, deadline=None)
@given(TEXTS)
def test_fast_normalisation_equals_the_full_one(text):
    assert normalized(text) == normalize(text)
    assert unicodedata.is_normalized("NFC", normalized(text))
    assert normalized(normalized(text)) == normalized(text)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_reported(content):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "text")
        path.write_bytes(content)
        rows, findings = scan_table(path)
        assert all(1 <= finding.line <= content.count(b"\n") + 1 for finding in findings)
        assert len({row.key for row in rows}) == len(rows)
        try:
            table = read_table(path, empty_ok=True)
        except UserError as error:
            assert findings and error.remedy
        else:
            assert {finding.code for finding in findings} <= {"unsorted", "no-newline"}
            write_table(path, table)
            assert read_table(path, empty_ok=True) == table
            assert scan_table(path)[1] == []
