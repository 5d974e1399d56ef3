"""BLEU and chrF: sacrebleu's own scores, intervals against brute force, the analysis, faults."""

import json

import numpy as np
import pytest
from make_set import data_directory, hypothesis_folder, table

from espnet_ext.bin import analyze, cli
from espnet_ext.errors import UserError
from espnet_ext.scoring import bootstrap
from espnet_ext.scoring.score import score_directory
from espnet_ext.scoring.translation import (
    corpus_score,
    make_metrics,
    resampled_scores,
    score_translations,
    speaker_counts,
)

sacrebleu = pytest.importorskip("sacrebleu", reason='pip install -e ".[translation]"')
TYPES = {"transcript": "word", "translation": "word"}
REFERENCES = {
    "a-1": "Wir sehen heute ein kleines Haus am Meer.",
    "a-2": "Das ist gut, sehr gut sogar.",
    "b-1": "Sie kommt morgen mit dem Zug aus Berlin.",
    "b-2": "Ich habe zwei Kinder und einen Hund.",
    "c-1": "Wo ist der Bahnhof?",
}
GOOD = {**REFERENCES, "b-1": "Sie kommt mit dem Zug aus Berlin.", "c-1": "Wo ist Bahnhof?"}
POOR = {
    "a-1": "Wir sehen ein Haus am Meer.",
    "a-2": "Das ist sehr gut.",
    "b-1": "Sie kommt mit dem Bus.",
    "b-2": "Ich habe zwei Kinder und einen Hund.",
    "c-1": "",
}


@pytest.fixture
def scored(tmp_path):
    """A scored set of two systems: data, name → folder."""
    speakers = {utt: utt[0] for utt in REFERENCES}
    texts = {"transcript": dict.fromkeys(REFERENCES, "we see"), "translation": REFERENCES}
    data = data_directory(tmp_path / "data", speakers, texts)
    table(data / "utt2lang", dict.fromkeys(REFERENCES, "en"))
    table(data / "utt2lang_translation", dict.fromkeys(REFERENCES, "de"))
    systems = {}
    for name, rows in (("st", POOR), ("st_mt", GOOD)):
        texts = {"translation": rows, "transcript": dict.fromkeys(rows, "we see")}
        systems[name] = hypothesis_folder(tmp_path / f"exp/{name}/decode/test", texts)
        score_directory(data, systems[name], TYPES)
    return data, systems


def sentences(rows):
    return {utt: (rows[utt], REFERENCES[utt]) for utt in REFERENCES}


def test_scores_and_signature_are_those_of_sacrebleu(scored):
    data, systems = scored
    (output,) = score_translations(systems, data, ["translation"])["outputs"]
    assert output["language"] == "de"
    for row, rows in zip(output["systems"], (POOR, GOOD), strict=True):
        arguments = [rows[utt] for utt in REFERENCES], [list(REFERENCES.values())]
        bleu, chrf = sacrebleu.corpus_bleu(*arguments), sacrebleu.corpus_chrf(*arguments)
        assert row["bleu"]["score"] == pytest.approx(bleu.score)
        assert row["chrf"]["score"] == pytest.approx(chrf.score)
        expected = "nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:"
        assert row["bleu"]["signature"] == expected + sacrebleu.__version__
        assert row["bleu"]["interval"][0] <= row["bleu"]["score"] <= row["bleu"]["interval"][1]
    (difference,) = output["differences"]
    first, second = (row["bleu"]["score"] for row in output["systems"])
    assert difference["bleu"]["difference"] == pytest.approx(second - first) and second > first
    assert difference["bleu"]["interval"][0] >= 0 and difference["utterances"] == 5


@pytest.mark.parametrize("name", ["bleu", "chrf"])
def test_resample_is_scored_as_the_sentences_of_its_speakers(name):
    metric = make_metrics()[name]
    speakers = {utt: utt[0] for utt in REFERENCES}
    counts = speaker_counts(metric, sentences(GOOD), speakers)
    scores = resampled_scores(metric, counts, 20, 5)
    for weights, score in zip(bootstrap.speaker_weights(3, 20, 5), scores, strict=True):
        drawn = {
            f"{utt}/{copy}": pair
            for utt, pair in sentences(GOOD).items()
            for copy in range(weights["abc".index(utt[0])])
        }
        assert score == pytest.approx(corpus_score(metric, drawn))
    assert len(np.unique(scores)) > 2


def test_translations_are_not_compared_with_transcripts(scored):
    _, systems = scored
    cells = json.loads((systems["st"] / "score.json").read_text())["cells"]
    assert {cell["name"] for cell in cells} == {
        "transcript-transcript",
        "translation-translation",
    }


def test_command_writes_tables_with_signature_and_published_gains(scored, tmp_path, capsys):
    data, systems = scored
    names = [f"{name}={folder}" for name, folder in systems.items()]
    arguments = ["translation", "--systems", *names, "--data", str(data)]
    result = tmp_path / "translation.json"
    assert cli.run(analyze.main, [*arguments, "--output", str(result)]) == 0
    printed = capsys.readouterr().out
    for text in ("tok:13a", "st_mt − st", "+1.8", "2309.15826", "3 speakers"):
        assert text in printed, text
    assert json.loads(result.read_text())["inputs"]["systems"]["st"]
    for option, value, message in (
        ("--outputs", "gloss", "no utterance has a reference for the output 'gloss'"),
        ("--tokenize", "14a", "--tokenize 14a: no tokenization of sacrebleu"),
    ):
        extra = [option, value, "--output", str(tmp_path / "x.json")]
        assert cli.run(analyze.main, [*arguments, *extra]) == 1
        assert message in capsys.readouterr().err


def test_other_labels_one_speaker_and_missing_files(scored, tmp_path, monkeypatch):
    data, systems = scored
    path = systems["st"] / "utterances.json"
    content = json.loads(path.read_text())
    content["utterances"] = content["utterances"][:2]  # of one speaker
    path.write_text(json.dumps(content))
    (output,) = score_translations({"st": systems["st"]}, data, ["translation"])["outputs"]
    assert output["systems"][0]["bleu"]["interval"] is None and not output["differences"]
    path.write_text(json.dumps({**content, "data_sha256": "0"}))
    with pytest.raises(UserError, match="was scored against other labels than st"):
        score_translations(systems, data, ["translation"])
    path.unlink()
    with pytest.raises(UserError, match="utterances.json: no such file"):
        score_translations(systems, data, ["translation"])
    monkeypatch.setitem(__import__("sys").modules, "sacrebleu.metrics", None)
    with pytest.raises(UserError, match="need sacrebleu, which is not installed"):
        make_metrics()
