"""What limits the numbers of a report, and what a report leaves out."""

import json
import re
import shutil

import pytest
from pages import Page, write

from espnet_ext.data.bands import check_bands
from espnet_ext.data.checks.context import Checked, CheckOptions
from espnet_ext.data.checks.findings import as_json
from espnet_ext.data.checks.splits import check_splits
from espnet_ext.document import Section, Table
from espnet_ext.report.contents import is_folded
from espnet_ext.report.training_overlap import overlap_caveats


def test_data_shared_with_training_are_caveats_within_tables(tree, tmp_path):
    """The findings are those of the checks of stage 4, in whose words they are counted."""
    shutil.copytree(tree / "exp", tmp_path / "exp")
    for name in ("train", "test"):
        folder = tmp_path / "dump/raw/org/en" / name
        folder.mkdir(parents=True)
        (folder / "wav.scp").write_text(f"{name}-1 {name}.wav\n")
        (folder / "utt2spk").write_text(f"{name}-1 s\n")
        (folder / "text.meaning").write_text(f"{name}-1 hello\n")
    (folder / "utt2band").write_text("test-1 narrow\n")
    options = CheckOptions(against=[folder.parent / "train"])
    checked = Checked(folder, options, ids={"test-1": 0}, speakers=1)
    check_splits(checked)
    check_bands(checked)
    path = tmp_path / "dump/raw/en/test/validation.json"
    path.parent.mkdir(parents=True)
    audio = [{"code": "shared-audio", "utt_id": "test-1", "message": "m"}] * 2  # one recording
    content = {"utterances": 4, "findings": audio + as_json(checked.findings)}
    path.write_text(json.dumps(content))
    results, details, page = write(tmp_path, tmp_path, languages="en")
    for text in (
        "1 of 4 recordings are also in training: the error rates do not hold for new recordings",
        "1 of 1 speakers (1 utterances) are also in training: the error rates do not hold for new "
        "speakers",
        "1 of 1 utterances have a sentence that is also in training, which lowers the meaning "
        "error",
        "1 of 1 utterances are narrowband (8 kHz or less), and no training utterance is: expect "
        "higher error rates than with matched audio",
    ):
        assert f"_English test: {text}_" in results
        assert f"_{text}_" in details and text in Page(page).text


def test_quick_run_concludes_nothing(tree, tmp_path):
    results, details, page = write(tree, tmp_path, languages="en", quick="true")
    shown = "This was a quick run (--quick true): it shows that all parts work, and"
    assert f"**English.** {shown} its numbers mean nothing." in results and shown in Page(page).text
    words = r"lowers|raises|the lowest error rates|better \||p \(|\bp =|is shown for"
    for text in (results, details, Page(page).text):
        assert not re.search(words, text), re.search(words, text)
    assert "| do − so_surface | surface against surface |" in results  # the numbers stay


def test_word_error_of_languages_without_spaces_is_not_shown(tree, tmp_path):
    shutil.copytree(tree / "exp/ko", tmp_path / "exp/ja")
    assert "WER % [95 %]" not in write(tmp_path, tmp_path, languages="ja")[1]


def test_finding_of_an_earlier_version_is_shown_as_it_is(tmp_path):
    finding = {"code": "shared-speakers", "utt_id": "", "message": "two speakers are in both"}
    content = {"utterances": 4, "findings": [finding]}
    (tmp_path / "validation.json").write_text(json.dumps(content))
    assert overlap_caveats(tmp_path) == ["two speakers are in both"]
    assert overlap_caveats(tmp_path / "none") == []


@pytest.mark.parametrize("published", ["true", "false"])
def test_published_results_can_be_left_out(tree, tmp_path, published):
    results, details, page = write(tree, tmp_path, languages="en", published=published)
    for text, shown in ((results, "Published results"), (page, "Beside published results")):
        assert (shown in text) == (published == "true")
    assert ("Published error rates" in details) == (published == "true")


def test_analyses_that_were_not_run_are_listed_below_the_results(tree, tmp_path):
    shutil.copytree(tree / "exp", tmp_path / "exp")
    path = tmp_path / "exp/en/analysis/not_run.json"
    path.write_text(json.dumps({"data": {"mdd": "no such file: text.canonical"}}))
    results, _, page = write(tmp_path, tmp_path, languages="en")
    for text, last in ((results, "How this file was made"), (page, '<h2 id="provenance">')):
        assert text.index("Error rates") < text.index("Not analysed") < text.index(last)


def test_section_without_visible_content_has_no_heading(tree, tmp_path):
    table = Table("t", "", ["a"], [["1"]], details=True)
    assert is_folded(Section("s", items=[table]))
    assert not is_folded(Section("s", ["finding"], [table]))
    assert not is_folded(Section("s", notes=["note"], items=[table]))
    page = write(tree, tmp_path, languages="en", systems="so_surface so_meaning")[2]
    details = r"<details(?:(?!</details>).)*</details>"
    only_details = rf"<h3[^>]*>[^<]*</h3>\s*{details}\s*(?:<h|</section)"
    assert not re.search(only_details, page, re.S)
    assert re.search(r'<details id="[^"]+"( open)?><summary>', page)
