"""The report of a made-up experiment: right numbers, well-formed, escaped, small, incomplete."""

import base64
import hashlib
import html as html_module
import json
import re
import shutil
from pathlib import Path

import pytest
from pages import SYSTEMS, Page, write

from espnet_ext.bin import baseline, cross, mdd
from espnet_ext.bin import score as score_command
from espnet_ext.document import interval, number
from espnet_ext.errors import UserError
from espnet_ext.files import sha256_of

MDD_FILES = (("canonical", "canonical"), ("perceived", "surface"))
TEXT = "p h1 h2 h3 h4 ul li a b strong small span pre code"
PAGE = "html head meta title style script body header main nav section div article"
CONTROLS = "form label input select button noscript kbd"
TABLES = "table thead tbody tfoot tr th td"
FIGURES = "figure figcaption svg g path defs use text image"
EXAMPLES = "details summary audio dl dt dd ruby rt ins del"
ALLOWED = set(" ".join([TEXT, PAGE, CONTROLS, TABLES, FIGURES, EXAMPLES]).split())


@pytest.fixture(scope="module")
def written(tree, tmp_path_factory):
    return write(tree, tmp_path_factory.mktemp("out"), plots=True)


def scores(tree):
    for path in sorted(tree.glob("exp/*/*/decode/test/score.json")):
        yield path, json.loads(path.read_text(encoding="utf-8"))


def counted(cell):
    """The number of utterances that the first page shows, if a cell leaves some out."""
    left_out = cell["unlabelled"] + cell["not_comparable"]
    total = cell["utterances"] + left_out
    return f", {cell['utterances']} of {total} utt" if left_out else ""


def test_page_is_well_formed_and_has_known_elements_only(written):
    page = Page(written[2])
    assert page.tags <= ALLOWED, page.tags - ALLOWED
    assert len(page.ids) == len(set(page.ids))
    links = [v for tag, name, v in page.attributes if name == "href" and tag == "a"]
    assert {v[1:] for v in links if not v.startswith("data:text/csv")} <= set(page.ids)
    headings = re.findall(r"<h[1-6][^>]*>", written[2])
    assert all(' id="' in heading for heading in headings[1:]), "headings have ids, but for the h1"


def test_policy_allows_the_scripts_and_styles_of_the_package_only(written):
    """The hashes are recomputed here from the elements of the page."""
    policy = html_module.unescape(re.search(r'Policy" content="([^"]*)"', written[2])[1])
    directives = {words[0]: words[1:] for words in map(str.split, policy.split(";"))}
    assert directives["default-src"] == ["'none'"]
    for name, pattern in (("script-src", r"<script type=.module.>"), ("style-src-elem", "<style>")):
        (content,) = re.findall(rf"{pattern}(.*?)</(?:script|style)>", written[2], flags=re.S)
        digest = hashlib.sha256(content.encode()).digest()
        assert directives[name] == [f"'sha256-{base64.b64encode(digest).decode()}'"]
    assert "unsafe-eval" not in policy and policy.count("unsafe-inline") == 1


def test_page_loads_nothing_and_is_small(written):
    page = Page(written[2])
    carried = ("data:audio/flac;base64,", "data:image/png;base64,", "data:text/csv", "#")
    for tag, name, value in page.attributes:
        assert not name.startswith("on"), (tag, name)
        if name in ("src", "href", "xlink:href", "data", "action"):
            assert value.startswith(carried), (tag, name)
    assert "url(" not in written[2] and "@import" not in written[2]
    assert len(written[2].encode()) < 5_000_000


def test_transcripts_are_escaped_everywhere(written, tree):
    rows = json.loads(next(tree.glob("exp/ko/do_small/decode/test/utterances.json")).read_text())
    assert any("<script>" in r["texts"]["meaning"] for r in rows["utterances"])
    assert all("<script" not in text.lower() for text in written[:2])
    assert written[2].lower().count("<script") == 2  # the page's data and its own script


def test_hostile_transcript_is_shown_as_text(tree, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(tree / "exp", copy / "exp")
    hostile = '<img src=x onerror="a">'
    for path in copy.glob("exp/*/*/decode/test/utterances.json"):
        value = json.loads(path.read_text(encoding="utf-8"))
        for row in value["utterances"]:
            row["texts"]["meaning"] = hostile
            row["l1"] = row["id"] = '"><b>&'
        path.write_text(json.dumps(value), encoding="utf-8")
    *_, text = write(copy, tmp_path, title="<b>title</b>|`x`")
    page = Page(text)
    assert "img" not in page.tags
    assert hostile in "".join(page.words) and "<b>title</b>|`x`" in "".join(page.words)


def test_hostile_names_in_result_files_are_escaped(tree, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(tree / "exp", copy / "exp")
    hostile = "<svg onload=x>$\\frac{</svg>"
    path = copy / "exp/ko/analysis/cka.json"
    value = json.loads(path.read_text())
    figure = next(item for item in value["section"]["items"] if item["type"] == "Figure")
    figure["series"] = {hostile: next(iter(figure["series"].values()))}
    figure["title"] = figure["x_label"] = value["section"]["findings"][0] = hostile
    path.write_text(json.dumps(value))
    for text in write(copy, tmp_path, languages="ko", plots=True):
        assert "<svg onload" not in text
    page = Page(text)
    assert "".join(page.words).count(hostile) >= 4


def test_every_cell_has_the_numbers_of_the_json(written, tree):
    _, details, page = written
    cells = [" ".join(text.split()) for text in Page(page).cells]
    count = 0
    for path, score in scores(tree):
        system = path.parts[-4].removesuffix("_small")
        for cell in score["cells"]:
            counts = cell["metrics"][cell["metric"]]
            rate, bounds = number(counts["rate"]), interval(counts["interval"])
            mark = r"\*\*" if cell["own"] else ""
            row = rf"\| {system} \| {cell['hypothesis']} \| {cell['reference']} \| "
            row += rf"{cell['metric'].upper()} \| {mark}{rate}{mark} \| {bounds} \| "
            assert re.search(row + rf"{cell['utterances']} \|", details), row
            assert f"{cell['metric'].upper()} {rate} {bounds}{counted(cell)}" in cells
            count += 1
    assert count == 16


def test_details_have_the_word_error_of_written_text(written, tree):
    _, details, page = written
    for path, score in scores(tree):
        system = path.parts[-4].removesuffix("_small")
        for cell in score["cells"]:
            row = rf"\| {system} \| {cell['hypothesis']} \| {cell['reference']} \| .* \| "
            if counts := cell["metrics"].get("wer"):
                shown = f"{number(counts['rate'])} [{interval(counts['interval'])}]"
                assert re.search(row + re.escape(shown) + r" \|\n", details), row
                assert shown.split()[0] in Page(page).text
            else:
                assert re.search(row + r"– \|\n", details), row


def test_front_page_has_every_error_rate_and_difference(written, tree):
    results = written[0]
    for _, score in scores(tree):
        for cell in score["cells"]:
            counts = cell["metrics"][cell["metric"]]
            mark = "**" if cell["own"] else ""
            rate = f"{mark}{number(counts['rate'])}{mark} [{interval(counts['interval'])}]"
            assert f"| {cell['metric'].upper()} {rate}{counted(cell)} |" in results
    assert "| do − so_surface | surface against surface |" in results
    assert "| do − so_meaning | meaning against meaning |" in results
    assert results.count("\n") < 130 and "per token" not in results  # bins are details


def test_front_page_counts_utterances_of_a_subset(tree, tmp_path):
    """A written hypothesis with a word outside the lexicon cannot be compared with phones."""
    shutil.copytree(tree / "exp", tmp_path / "exp")
    for system, count in (("so_meaning", 0), ("do", 7)):
        path = tmp_path / f"exp/en/{system}_small/decode/test/score.json"
        score = json.loads(path.read_text())
        cell = next(c for c in score["cells"] if c["name"] == "meaning-surface")
        total = cell["utterances"] + cell["not_comparable"] + cell["unlabelled"]
        cell |= {"utterances": count, "not_comparable": total - count, "unlabelled": 0}
        counts = cell["metrics"]["per"]
        counts |= {"rate": 17.13, "interval": None} if count else {"rate": None, "interval": None}
        path.write_text(json.dumps(score))
    results, details, page = write(tmp_path, tmp_path, languages="en")
    assert f"| PER 17.13, 7 of {total} utt |" in results
    assert "| PER: not comparable |" in results and "PER –" not in results
    assert "| so_meaning | meaning | surface | PER | not comparable |" in details
    caveat = "meaning against surface (do): only utterances whose recognised words are all in the "
    assert f"_English test: {caveat}" in results and f"_{caveat}" in details
    assert caveat in Page(page).text


def test_rate_of_too_few_utterances_is_not_shown(tree, tmp_path):
    """One comparable utterance of 200 says nothing about the set."""
    shutil.copytree(tree / "exp", tmp_path / "exp")
    path = tmp_path / "exp/en/do_small/decode/test/score.json"
    score = json.loads(path.read_text())
    cell = next(c for c in score["cells"] if c["name"] == "meaning-surface")
    cell |= {"utterances": 1, "not_comparable": 199, "unlabelled": 38}
    cell["metrics"]["per"] |= {"rate": 98.76, "interval": [98.7, 98.8]}
    path.write_text(json.dumps(score))
    results, details, page = write(tmp_path, tmp_path, languages="en")
    assert "98.76" not in results + details + page and "98.7–" not in details
    assert "| do | meaning | surface | PER | – | – | 1 | 38 unlabelled, 199 not comp" in details
    caveat = (
        "meaning against surface (do): no rate is shown, as only 1 of 200 utterances can be "
        "compared_"
    )
    assert f"_English test: {caveat}" in results and f"_{caveat}" in details
    assert "meaning against surface (do): only utterances" not in results + details


def headline_of(tree, tmp_path):
    """Return the main finding about English without an analysis of differences, and all texts."""
    texts = write(tree, tmp_path, languages="en")
    return re.search(r"^\*\*English\.\*\* (.*)$", texts[0], flags=re.M)[1], "".join(texts)


def test_rate_of_too_few_utterances_is_in_no_headline_and_no_breakdown(tree, tmp_path):
    shutil.copytree(tree / "exp", tmp_path / "exp")
    shutil.rmtree(tmp_path / "exp/en/analysis")
    path = tmp_path / "exp/en/do_small/decode/test/score.json"
    score = json.loads(path.read_text())
    cell = next(c for c in score["cells"] if c["name"] == "meaning-meaning")
    metric = cell["metric"]
    cell["metrics"][metric]["rate"] = 0.01
    for speaker in cell["speakers"].values():
        speaker[metric]["rate"] = 98.76
    for part in score["divergence"]["cells"]["meaning-meaning"]:
        part["rate"] = 97.65
    path.write_text(json.dumps(score))
    headline, texts = headline_of(tmp_path, tmp_path)
    assert "meaning with CER 0.01 % (do)" in headline and "98.76" in texts and "97.65" in texts
    cell |= {"utterances": 1, "not_comparable": 199}
    path.write_text(json.dumps(score))
    headline, texts = headline_of(tmp_path, tmp_path)
    assert "(do)" not in headline.partition("meaning with")[2] and "(so_meaning)" in headline
    assert not re.search(r"0\.01 %|98\.76|97\.65", texts)


def test_headline_does_not_compare_systems_that_know_the_prompt_with_others(tree, tmp_path):
    shutil.copytree(tree / "exp", tmp_path / "exp")
    shutil.rmtree(tmp_path / "exp/en/analysis")
    folder = tmp_path / "exp/en/do_small/decode/test"
    score = json.loads((folder / "score.json").read_text())
    for cell in score["cells"]:
        cell["metrics"][cell["metric"]]["rate"] = 0.01
    (folder / "score.json").write_text(json.dumps(score))
    assert "surface with PER 0.01 % (do)" in headline_of(tmp_path, tmp_path)[0]
    decoding = json.loads((folder / "decode.json").read_text())
    (folder / "decode.json").write_text(json.dumps({**decoding, "canonical": {"prompt": True}}))
    headline, _ = headline_of(tmp_path, tmp_path)
    assert "the lowest error rates of systems that do not know the prompt are: " in headline
    assert "(so_surface)" in headline and "(do)" not in headline
    # Rates against different labels are not compared at all
    score["data"]["sha256"] = "0" * 64
    (folder / "score.json").write_text(json.dumps(score))
    assert "**English.**" not in write(tmp_path, tmp_path, languages="en")[0]


def test_caveat_of_several_sets_is_one_footnote(tree, tmp_path):
    shutil.copytree(tree / "exp", tmp_path / "exp")
    for path in (tmp_path / "exp").glob("*/do_small/decode/test/score.json"):
        score = json.loads(path.read_text())
        cell = next(c for c in score["cells"] if c["own"])
        cell |= {"not_comparable": 1}
        path.write_text(json.dumps(score))
    results, *_ = write(tmp_path, tmp_path)
    (footnote,) = re.findall(r"_.*: surface against surface \(do\): only utterances .*_", results)
    assert "Korean test, English test: " in footnote or "English test, Korean test: " in footnote


def test_summary_names_the_set_if_there_are_several(tree, tmp_path):
    shutil.copytree(tree / "exp", tmp_path / "exp")
    exp = tmp_path / "exp/en"
    for folder in exp.glob("*/decode/test"):
        shutil.copytree(folder, folder.with_name("other"))
    results, *_ = write(tmp_path, tmp_path, languages="en", sets="test other")
    assert "- English test: " in results and "- English: " not in results
    assert "- English: " in write(tmp_path, tmp_path, languages="en")[0]


@pytest.mark.parametrize("name", ["RESULTS.md", "RESULTS_details.md", "report.html"])
def test_files_of_others_are_not_replaced(tree, tmp_path, name):
    write(tree, tmp_path, languages="en")
    write(tree, tmp_path, languages="en")  # its own files are replaced
    content = "# Notes\n\nBy hand: 3 %\n"
    (tmp_path / name).write_text(content)
    with pytest.raises(UserError, match=f"{name}: exists, and is not a result of this command"):
        write(tree, tmp_path, languages="en")
    assert (tmp_path / name).read_text() == content


def test_mispronunciations_have_the_numbers_of_the_json(written, tree):
    results, _, page = written
    text = " ".join(Page(page).cells)
    count = 0
    for path in sorted(tree.glob("exp/*/*/decode/test/mdd*.json")):
        judged = json.loads(path.read_text())
        system = path.parts[-4].removesuffix("_small")
        how = "without" if "no_prompt" in path.name else "with"
        shown = [number(value) for value in judged["F1"].values()]
        row = rf"\| {system} \| {how} \| {shown[0]} \[.*\] \| {shown[1]} .*\| {shown[2]} "
        assert re.search(row, results), row
        assert shown[0] in text
        count += 1
    assert count >= 3


def test_every_language_has_its_main_finding_on_top(written):
    results, _, page = written
    head = results.partition("## Error rates")[0]
    for name in ("Korean", "English"):
        (sentence,) = re.findall(
            rf"^\*\*{name}\.\*\* (On test, joint training .*\.)$", head, flags=re.M
        )
        assert sentence in Page(page).text.replace("\u00a0", " ")
    assert page.index('class="headline"') < page.index('id="examples"') < page.index('id="errors"')


@pytest.mark.parametrize("value", ["-1", "nan", "inf", "much"])
def test_size_of_the_audio_must_be_a_number(tree, tmp_path, value, capsys):
    with pytest.raises(SystemExit):
        write(tree, tmp_path, audio_mb=value)
    assert f"'{value}' is not a number from 0 to 1000" in capsys.readouterr().err


def test_first_table_of_results_is_the_error_rates(written):
    first = next(line for line in written[0].splitlines() if line.startswith("|"))
    assert first.startswith("| language | set | system | surface against surface")


def test_markdown_tables_are_rectangular(written):
    for text in written[:2]:
        for block in re.findall(r"(?:^\|.*\n)+", text, flags=re.M):
            widths = {len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}
            assert len(widths) == 1, block


def test_numbers_have_command_labels_commit_and_machine(written, tree):
    results, details, page = written
    for path, score in scores(tree):
        for text in (details, page):
            assert f"--hypotheses {path.parent}" in text
            assert score["data"]["sha256"][:12] in text
    for text in (results + details, page.replace("\u00a0", " ")):
        assert "espnet 202611" in text and "cores" in text and "2 min 31 s" in text
        assert "2606.06065, as reported by a secondary source" in text
        assert "11.34" in text and "2,612,345" in text


def test_trainings_and_decodings_have_their_origin_or_say_that_it_is_unknown(tree, tmp_path):
    shutil.copytree(tree / "exp", tmp_path / "exp")
    made = {
        "command": "python -m espnet_ext.bin.X",
        "commit": "0123456789ab",
        "date": "2026-11-20T07:08:09Z",
        "machine": {"cpu": "A CPU", "cores": 3, "gpu": "A GPU"},
        "versions": {"torch": "9.9"},
    }
    model = tmp_path / "exp/ko/do_small"
    for path, extra in (
        (model / "train.json", {"restarts": [{**made, "commit": "ba9876543210"}]}),
        (model / "decode/test/decode.json", {}),
    ):
        verb = {"command": f"python -m espnet_ext.bin.{path.stem}"}
        value = {**json.loads(path.read_text()), "provenance": {**made, **verb}, **extra}
        path.write_text(json.dumps(value))
    _, details, page = write(tmp_path, tmp_path, languages="ko")
    origin = "torch 9.9; A CPU, 3 cores; A GPU; 2026-11-20T07:08:09Z"
    for what in ("train", "decode"):
        made_by = {"train": "training of do", "decode": "decoding of test with do"}[what]
        line = (
            f"- {made_by}: `python -m espnet_ext.bin.{what}`\n  - commit 0123456789ab; {origin}\n"
        )
        assert line in details
    assert (
        "- training of do, started again: `python -m espnet_ext.bin.X`\n  - commit ba98" in details
    )
    unknown = "commit, versions, machine and date were not recorded"
    assert f"- decoding of test with so_surface: command not recorded\n  - {unknown}" in details
    # two trainings, two decodings, three results of mdd
    assert details.count(unknown) == 7 and Page(page).text.count(unknown) == 7


def test_differences_pair_the_joint_system_with_each_single_one(written):
    assert "do − so_surface" in written[0] and "do − so_meaning" in written[0]
    assert "so_meaning − so_surface" not in "".join(written)


def test_systems_that_know_the_prompt_are_named_in_every_table(tree, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(tree, copy)
    model = next(copy.glob("**/ko/do_*"))
    shutil.copytree(model / "decode", model / "decode_prompt")
    for path in (model / "decode_prompt").glob("*/decode.json"):
        content = json.loads(path.read_text())
        path.write_text(json.dumps({**content, "canonical": {"prompt": True}}))
    results, details, _ = write(copy, tmp_path, languages="ko", variants="do:prompt")
    caveat = "do_prompt: decoded with the canonical form of the prompt"
    assert caveat in results and details.count(caveat) > 1
    assert caveat not in write(tree, tmp_path, languages="ko")[0]


def test_audio_is_inside_the_page(written):
    sources = re.findall(r'src="data:audio/flac;base64,([^"]+)"', written[2])
    assert len(sources) == 8
    assert all(base64.b64decode(source)[:4] == b"fLaC" for source in sources)


def test_few_speakers_and_synthetic_speech_are_caveats_within_tables(tree, tmp_path):
    """Every table with an interval over four speakers has the caveat among its own rows."""
    *texts, page = write(tree, tmp_path, caveat="synthetic speech")
    for text in texts:
        for block in re.findall(r"(?:^\|.*\n)+", text, flags=re.M):
            # CKA and other measures have jackknife intervals with their own caveat
            if re.search(r"\[\d|\[[+−]\d|95 %", block) and "published" not in block:
                assert re.search(r"\| _.*4 speakers: |\| _.*3 speakers: ", block), block
                assert "_synthetic speech_" in block
    for table in re.findall(r"<table>.*?</table>", page, flags=re.S):
        if re.search(r"<small>[+−\d]", table) and "published" not in table:
            assert re.search(r"<tfoot>.*[34] speakers: ", table, flags=re.S), table[:300]
            assert "synthetic speech" in table


def test_caveat_of_all_numbers_is_in_every_measured_table(tree, tmp_path):
    """Also where the tables have no caveats of their own, as from eight speakers on."""
    shutil.copytree(tree / "exp", tmp_path / "exp")
    for path in tmp_path.glob("exp/en/**/*.json"):
        value = json.loads(path.read_text())
        for item in value.get("section", {}).get("items", ()):
            if item["type"] == "Table":
                item["caveats"] = []
        if path.name == "score.json":
            value["data"]["speakers"] = 8
        path.write_text(json.dumps(value))
    *texts, page = write(tmp_path, tmp_path, languages="en", caveat="synthetic speech")
    for text in texts:
        tables = re.findall(r"^###+ (.*)\n\n(?:.+\n\n)?((?:\|.*\n)+)", text, flags=re.M)
        assert tables
        for title, block in tables:
            measured = not title.startswith(("Cost of", "Data sets", "Published error rates"))
            assert ("synthetic speech_" in block) == measured, title
    measured = [table for table in re.findall(r"<table>.*?</table>", page, flags=re.S)]
    assert sum("synthetic speech" in table for table in measured) == len(measured) - 2


def test_incomplete_results_name_what_is_missing(tree, tmp_path, capsys):
    copy = tmp_path / "copy"
    shutil.copytree(tree, copy)
    shutil.rmtree(copy / "exp/ko/do_small")
    shutil.rmtree(copy / "exp/en")
    (copy / "exp/ko/analysis/cka.json").unlink()
    (copy / "exp/ko/so_meaning_small/decode/test/utterances.json").unlink()
    (copy / "exp/ko/so_surface_small/decode/test/decode.json").unlink()
    path = copy / "exp/ko/so_surface_small/decode/test/utterances.json"
    path.write_text(path.read_text().replace(str(tree / "audio"), str(copy / "nowhere")))
    texts = write(copy, tmp_path, summary="true")
    Page(texts[2])
    for text in texts:
        for name in ("do_small", "cka.json", "en, so_surface"):
            assert name in text
    output = capsys.readouterr()
    assert "missing: ko, do, test" in output.err and "an example has no audio" in output.err
    assert "lacks the recordings of 24 utterances, which cannot be read; the first: " in output.err
    assert "<audio" not in texts[2]
    assert "Korean test" in output.out and "so_meaning" in output.out


def test_one_system_alone(tree, tmp_path):
    results, details, text = write(tree, tmp_path, systems="so_meaning", languages="en")
    Page(text)
    assert "| so_meaning | meaning | meaning | CER |" in details
    assert "| English | test | so_meaning |" in results


def test_coupled_decoding_has_rows_of_its_own(tree, tmp_path, capsys):
    copy = tmp_path / "copy"
    shutil.copytree(tree / "exp", copy / "exp")
    model = copy / "exp/ko/do_small"
    shutil.copytree(model / "decode", model / "decode_coupled")
    results, details, _ = write(copy, tmp_path, languages="ko", variants="do:coupled")
    rows = [line for line in results.splitlines() if line.startswith("| Korean | test | do")]
    assert [row.split(" | ")[2] for row in rows] == ["do", "do_coupled"]
    assert rows[0].replace("| do |", "") == rows[1].replace("| do_coupled |", "")
    assert "scores of do_coupled on test" in details
    shutil.rmtree(model / "decode_coupled")
    assert "| do_coupled |" not in write(copy, tmp_path, languages="ko", variants="do:coupled")[0]
    assert "missing: ko, do_coupled, test: " in capsys.readouterr().err


def test_baseline_joins_cells_differences_and_mispronunciations(tree, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(tree / "exp", copy / "exp")
    (copy / "dump").symlink_to(tree / "dump")
    data = copy / "dump/raw/ko/test"
    for output in ("surface", "meaning"):
        rows = (data / f"text.{output}").read_text().splitlines(keepends=True)[5:]
        (tmp_path / f"hyp/test/text.{output}").parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / f"hyp/test/text.{output}").write_text("".join(rows))
    target = copy / "exp/ko/baseline_cloud/decode/test"
    words = ["--data", str(data), "--token_types", "surface=char meaning=char"]
    assert (
        baseline.main(
            ["--hypotheses", str(tmp_path / "hyp/test"), "--output_dir", str(target), *words]
        )
        == 0
    )
    assert score_command.main(["--hypotheses", str(target), "--missing", "leave_out", *words]) == 0
    files = [f"--{key}={data}/text.{name}" for key, name in MDD_FILES]
    assert (
        mdd.main(
            [
                *files,
                f"--hypothesis={target}/text.surface",
                "--unit=jamo",
                f"--output={target}/mdd.json",
            ]
        )
        == 0
    )
    systems = [f"{name}={copy}/exp/ko/{name}_small/decode/test" for name in SYSTEMS.split()]
    result = copy / "exp/ko/analysis/cross_test.json"
    arguments = ["--systems", *systems, "--baselines", f"cloud={target}", "--output", str(result)]
    assert cross.main(arguments) == 0
    results, details, text = write(copy, tmp_path, languages="ko", baselines="cloud")
    Page(text)
    assert "| Korean | test | cloud | CER **0.00** " in results and "19 of 24 utt" in results
    assert "cloud: 5 utterances have no hypothesis and are left out" in results
    assert "| do − cloud | meaning against meaning | " in results
    assert "| cloud | meaning | " in details and "5 of 24 utterances have no meaning" in details
    assert "cloud: hypotheses only, so without hidden states to analyse." in details
    assert "joint training (do) raises the meaning error of cloud" not in details
    detected = details.partition("Mispronunciation detection and diagnosis on test")[2]
    assert "\n| cloud | " in detected


def test_baseline_of_another_set_has_an_empty_row_and_a_reason(tree, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(tree / "exp", copy / "exp")
    (copy / "dump").symlink_to(tree / "dump")
    (tmp_path / "hyp/test").mkdir(parents=True)
    (tmp_path / "hyp/test/text").write_text("x-1 no\n")
    target = copy / "exp/ko/baseline_other/decode/test"
    words = ["--data", str(copy / "dump/raw/ko/test"), "--token_types", "surface=char meaning=char"]
    imported = ["--hypotheses", str(tmp_path / "hyp/test"), "--output_dir", str(target)]
    assert baseline.main([*imported, *words, "--nothing_comparable", "warning"]) == 0
    assert score_command.main(["--hypotheses", str(target), "--missing", "leave_out", *words]) == 0
    results, details, text = write(copy, tmp_path, languages="ko", baselines="other")
    Page(text)
    row = next(line for line in results.splitlines() if "| Korean | test | other |" in line)
    assert set(row.split(" | ")[3:-1]) == {"–"}
    assert "other: nothing of it can be compared" in results
    assert "other: meaning is not compared: " in details


def test_training_of_a_stock_model_is_that_of_its_own_decoding(tree, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(tree / "exp", copy / "exp")
    (copy / "dump").symlink_to(tree / "dump")
    source = copy / "exp/ko/so_meaning_small"
    target = copy / "exp/ko/baseline_stock_meaning/decode/test"
    shutil.copytree(source / "decode/test", target)
    shutil.copytree(source, copy / "exp/ko/stock_meaning_small")
    parameters = json.loads((source / "train.json").read_text())["parameters"]
    for model, is_shown in (("stock_meaning_small", True), ("asr_train", False)):
        facts = json.loads((target / "decode.json").read_text())
        (target / "decode.json").write_text(json.dumps({**facts, "model": model}))
        results, details, _ = write(copy, tmp_path, languages="ko", baselines="stock_meaning")
        row = f"\n| stock_meaning | {parameters:,} | "
        assert (row in results + details) is is_shown


def test_terminal_summary_is_aligned(tree, tmp_path, capsys):
    write(tree, tmp_path, summary="true")
    table = capsys.readouterr().out.split("\n\n")[0].splitlines()
    assert table[0] == "Korean test"
    column = table[1].index("utt")
    assert all(line[: column + 3].rstrip() == line for line in table[1:])
    assert len({line.index("CER") for line in table[3:]}) == 1


def test_analysis_of_other_models_is_left_out_with_a_note(tree, tmp_path, capsys):
    title = "Similarity of the systems' layers"
    assert title in write(tree, tmp_path, systems=SYSTEMS)[1]
    shutil.copytree(tree / "exp", tmp_path / "exp")
    path = tmp_path / "exp/ko/analysis/cka.json"
    path.write_text(path.read_text().replace("ko/do_small", "ko/do_large"))
    _, details, _ = write(tmp_path, tmp_path, languages="ko")
    assert title not in details
    note = f"{path} is about other models or labels: run its analysis again (stage 17)"
    assert note in details and note in capsys.readouterr().err
    value = json.loads(path.read_text())
    path.write_text(json.dumps({**value, "models": {}}))
    assert note in write(tmp_path, tmp_path, languages="ko")[1]


@pytest.mark.parametrize("changed", ["do_small/model.pth", "do_small/decode/test/utterances.json"])
def test_analysis_of_earlier_weights_or_hypotheses_is_left_out(tree, tmp_path, capsys, changed):
    shutil.copytree(tree / "exp", tmp_path / "exp")
    path, file = tmp_path / "exp/ko/analysis/cka.json", tmp_path / "exp/ko" / changed
    (tmp_path / "exp/ko/do_small/model.pth").write_bytes(b"weights")
    files = {str(Path("exp/ko") / changed).rpartition("/")[0]: {file.name: sha256_of(file)}}
    value = json.loads(path.read_text())
    path.write_text(json.dumps({**value, "inputs": {**value.get("inputs", {}), "files": files}}))
    title, note = "Similarity of the systems' layers", f"{path} is about other models"
    assert title in write(tmp_path, tmp_path, languages="ko")[1]
    file.write_bytes(file.read_bytes() + b" ")
    assert title not in write(tmp_path, tmp_path, languages="ko")[1]
    assert note in capsys.readouterr().err


def test_cross_task_evaluation_of_other_systems_is_left_out(tree, tmp_path, capsys):
    copy = tmp_path / "copy"
    shutil.copytree(tree / "exp", copy / "exp")
    path = copy / "exp/ko/analysis/cross_test.json"
    path.write_text(path.read_text().replace("do_small", "do_large"))
    assert "Differences between systems" not in "".join(write(copy, tmp_path, languages="ko"))
    assert "cross_test.json is about other models or labels" in capsys.readouterr().err
    path.rename(path.with_name("cross_valid.json"))
    write(copy, tmp_path, languages="ko")
    assert f"missing: ko: {path}\n" in capsys.readouterr().err


def test_analyses_that_could_not_be_run_are_not_missing(tree, tmp_path, capsys):
    copy = tmp_path / "copy"
    shutil.copytree(tree / "exp", copy / "exp")
    folder = copy / "exp/ko/analysis"
    (folder / "cka.json").unlink()
    (folder / "probes.json").unlink()
    reason = "exp/ko/do_small: hypotheses, but no model.pth"
    (folder / "not_run.json").write_text(json.dumps({"models": {"cka": reason}}))
    results, details, page = write(copy, tmp_path, languages="ko")
    assert f"missing: ko: {folder}/probes.json\n" == capsys.readouterr().err
    assert f"Not analysed:\n\n- ko: cka: {reason}\n" in results and reason in details
    assert f"<strong>Not analysed</strong><ul>\n<li>ko: cka: {reason}</li>" in page


def test_result_without_a_prompt_is_not_shown_for_systems_that_know_it(tree, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(tree / "exp", copy / "exp")
    decoding = copy / "exp/en/do_small/decode/test"
    assert "| do | without |" in write(copy, tmp_path, languages="en")[0]
    record = json.loads((decoding / "decode.json").read_text())
    record["canonical"] = {"prompt": True}
    (decoding / "decode.json").write_text(json.dumps(record))
    results, details, _ = write(copy, tmp_path, languages="en")
    assert "| do | with |" in results and "| do | without |" not in results + details
    assert "mdd_no_prompt of do" not in details


def test_result_of_another_set_is_named(tree, tmp_path, capsys):
    copy = tmp_path / "copy"
    shutil.copytree(tree / "exp", copy / "exp")
    value = json.loads((copy / "exp/ko/analysis/cross_test.json").read_text())
    path = copy / "exp/ko/analysis/cross_valid.json"
    path.write_text(json.dumps({**value, "set": "valid"}))
    results, _, _ = write(copy, tmp_path, languages="ko")
    assert results.count("### Differences between systems") == 1
    assert f"{path} is about a set that is not in this report" in capsys.readouterr().err


def test_labels_that_differ_are_a_caveat_of_the_error_rates(tree, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(tree / "exp", copy / "exp")
    path = copy / "exp/ko/do_small/decode/test/score.json"
    value = json.loads(path.read_text())
    value["data"]["sha256"] = "0" * 64
    path.write_text(json.dumps(value))
    for text in write(copy, tmp_path, languages="ko"):
        assert "scored against different labels: do not compare them" in text


def test_own_numbers_beside_the_published_ones(tree, tmp_path):
    from espnet_ext.report.collect import collect
    from espnet_ext.report.published import rows

    collected = collect(tree / "exp", ["en"], SYSTEMS.split(), "small", "decode", ["test"])
    table = {what: (here, published) for what, here, published in rows(collected.languages[0])}
    assert table["so_surface, surface: error %"][1] == "CER 13.78"
    assert table["do, meaning: error %"][1] == "CER 3.19"
    where = "CKA so_surface – so_meaning, encoder layer"
    assert table[f"{where} 0 (published: 0)"][1] == "0.91"
    assert table[f"{where} 3 (published: 11)"][1] == "0.40"
    score = json.loads((tree / "exp/en/do_small/decode/test/score.json").read_text())
    cell = next(c for c in score["cells"] if c["name"] == "meaning-meaning")
    rate = number(cell["metrics"][cell["metric"]]["rate"])
    assert rate in table["do, meaning: error %"][0]
    for text in write(tree, tmp_path, languages="en", plots=True)[1:]:
        assert "This experiment beside the published one" in text
    assert "published, 12 layers" in text


@pytest.mark.parametrize("content", ["[]", "{"])
def test_broken_analysis_file_is_named(tree, tmp_path, content):
    shutil.copytree(tree / "exp", tmp_path / "exp")
    (tmp_path / "exp/ko/analysis/probes.json").write_text(content)
    with pytest.raises(UserError, match=r"probes\.json"):
        write(tmp_path, tmp_path, languages="ko")


def test_broken_section_is_named(tree, tmp_path):
    shutil.copytree(tree / "exp", tmp_path / "exp")
    path = tmp_path / "exp/ko/analysis/other.json"
    path.write_text(json.dumps({"section": {"title": "x"}}))
    with pytest.raises(UserError, match=r"other\.json: not a section"):
        write(tmp_path, tmp_path, languages="ko")
