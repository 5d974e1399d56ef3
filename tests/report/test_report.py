"""Both reports from a made-up experiment: right figures, well-formed, escaped, small, partial."""

import base64
import html.parser
import json
import re
import shutil

import make_results
import pytest

from espnet_ext.bin import report as command
from espnet_ext.report.summary import interval, percent

SYSTEMS = "so_surface so_meaning do"
VOID = {"meta", "br", "hr", "img", "link"}
ALLOWED = {
    "html",
    "head",
    "meta",
    "title",
    "style",
    "body",
    "header",
    "h1",
    "h2",
    "h3",
    "h4",
    "p",
    "nav",
    "ul",
    "li",
    "a",
    "main",
    "section",
    "div",
    "table",
    "thead",
    "tbody",
    "tr",
    "th",
    "td",
    "small",
    "span",
    "b",
    "strong",
    "figure",
    "figcaption",
    "svg",
    "line",
    "text",
    "circle",
    "polygon",
    "polyline",
    "rect",
    "details",
    "summary",
    "article",
    "audio",
    "dl",
    "dt",
    "dd",
    "ruby",
    "rt",
    "ins",
    "del",
    "pre",
    "code",
    "footer",
}


class Page(html.parser.HTMLParser):
    """Checks nesting while parsing, and keeps what the tests ask for."""

    def __init__(self, text):
        super().__init__()
        self.stack, self.tags, self.attributes, self.cells, self.ids = [], set(), [], [], []
        self.words = []
        self.feed(text)
        self.close()
        assert not self.stack, f"not closed: {self.stack}"

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]
        self.ids += [value for name, value in attrs if name == "id"]
        if tag not in VOID:
            self.stack.append(tag)
        if tag in ("td", "th"):
            self.cells.append("")

    def handle_endtag(self, tag):
        assert self.stack and self.stack.pop() == tag, f"misplaced </{tag}>"

    def handle_data(self, data):
        if self.cells and self.stack and {"td", "th"} & set(self.stack):
            self.cells[-1] += data + " "
        if "style" not in self.stack:
            self.words.append(data)


def write(tree, out, systems=SYSTEMS, languages="ko en", **options):
    arguments = [
        "--exp_dir",
        tree / "exp",
        "--dump_dir",
        tree / "dump/raw",
        "--langs",
        languages,
        "--systems",
        systems,
        "--train_tag",
        "small",
        "--decode_tag",
        "decode",
        "--sets",
        "test",
        "--results",
        out / "RESULTS.md",
        "--html",
        out / "report.html",
    ]
    for name, value in options.items():
        arguments += [f"--{name}", value]
    assert command.main([str(argument) for argument in arguments]) == 0
    return (out / "RESULTS.md").read_text("utf-8"), (out / "report.html").read_text("utf-8")


@pytest.fixture(scope="module")
def written(tree, tmp_path_factory):
    return write(tree, tmp_path_factory.mktemp("out"))


def scores(tree):
    for path in sorted(tree.glob("exp/*/*/decode/test/score.json")):
        yield path, json.loads(path.read_text(encoding="utf-8"))


def test_page_is_well_formed_and_knows_no_other_elements(written):
    page = Page(written[1])
    assert page.tags <= ALLOWED, page.tags - ALLOWED
    assert len(page.ids) == len(set(page.ids))
    targets = [v[1:] for _, name, v in page.attributes if name == "href"]
    assert set(targets) <= set(page.ids)


def test_page_fetches_nothing_runs_nothing_and_is_small(written):
    page = Page(written[1])
    for tag, name, value in page.attributes:
        assert not name.startswith("on"), (tag, name)
        if name in ("src", "href", "data", "action"):
            assert value.startswith(("data:audio/flac;base64,", "#")), (tag, name)
    assert "url(" not in written[1] and "@import" not in written[1]
    assert len(written[1].encode()) < 5_000_000


def test_transcripts_are_escaped_in_both(written, tree):
    markdown, page = written
    rows = json.loads(next(tree.glob("exp/ko/do_small/decode/test/utterances.json")).read_text())
    assert any("<script>" in r["texts"]["meaning"] for r in rows["utterances"])
    assert "<script" not in page.lower() and "<script" not in markdown.lower()


def test_a_hostile_transcript_that_is_shown_stands_there_as_text(tree, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(tree / "exp", copy / "exp")
    hostile = '<img src=x onerror="a">'
    for path in copy.glob("exp/*/*/decode/test/utterances.json"):
        value = json.loads(path.read_text(encoding="utf-8"))
        for row in value["utterances"]:
            row["texts"]["meaning"] = hostile
            row["l1"] = row["id"] = '"><b>&'
        path.write_text(json.dumps(value), encoding="utf-8")
    _, text = write(copy, tmp_path, title="<b>title</b>|`x`")
    page = Page(text)
    assert "img" not in page.tags
    assert hostile in "".join(page.words) and "<b>title</b>|`x`" in "".join(page.words)


def test_every_cell_is_in_both_with_the_figures_of_the_json(written, tree):
    markdown, page = written
    cells = [" ".join(text.split()) for text in Page(page).cells]
    found = 0
    for path, score in scores(tree):
        system = path.parts[-4].removesuffix("_small")
        for cell in score["cells"]:
            figures = cell["metrics"][cell["metric"]]
            rate, bounds = percent(figures["rate"]), interval(figures["interval"])
            mark = r"\*\*" if cell["own"] else ""
            row = rf"\| {system} \| {cell['hypothesis']} \| {cell['reference']} \| "
            row += rf"{cell['metric'].upper()} \| {mark}{rate}{mark} \| {bounds} \| "
            assert re.search(row + rf"{cell['utterances']} \|", markdown), row
            start = f"{rate} {cell['metric'].upper()} {bounds} {cell['utterances']} utt"
            assert any(text.startswith(start) for text in cells), start
            found += 1
    assert found == 16


def test_mispronunciations_are_in_both_with_the_figures_of_the_json(written, tree):
    markdown, page = written
    text = " ".join(Page(page).cells)
    found = 0
    for path in sorted(tree.glob("exp/*/*/decode/test/mdd*.json")):
        judged = json.loads(path.read_text())
        system = path.parts[-4].removesuffix("_small")
        how = "without" if "no_prompt" in path.name else "with"
        shown = [percent(value) for value in judged["F1"].values()]
        row = rf"\| {system} \| {how} \| {shown[0]} \[.*\] \| {shown[1]} .*\| {shown[2]} "
        assert re.search(row, markdown), row
        assert shown[0] in text
        found += 1
    assert found >= 3


def test_first_table_of_the_markdown_is_the_cells(written):
    first = next(line for line in written[0].splitlines() if line.startswith("|"))
    assert first.startswith("| language | set | system | surface against surface")


def test_tables_of_the_markdown_are_rectangular(written):
    for block in re.findall(r"(?:^\|.*\n)+", written[0], flags=re.M):
        widths = {len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}
        assert len(widths) == 1, block


def test_figures_stand_with_command_labels_commit_and_machine(written, tree):
    for path, score in scores(tree):
        for text in written:
            assert f"--hypotheses {path.parent}" in text
            assert score["data"]["sha256"][:12] in text
    for text in written:
        assert "espnet 202611" in text and "cores" in text and "2 min 31 s" in text
        assert "2606.06065" in text and "11.34" in text and "2,612,345" in text


def test_differences_pair_the_joint_system_with_each_single_one(written):
    assert "do − so_surface" in written[0] and "do − so_meaning" in written[0]
    assert "so_meaning − so_surface" not in written[0]


def test_sound_is_inside(written):
    sources = re.findall(r'src="data:audio/flac;base64,([^"]+)"', written[1])
    assert len(sources) == 8
    assert all(base64.b64decode(source)[:4] == b"fLaC" for source in sources)


def test_partial_results_name_what_is_missing(tree, tmp_path, capsys):
    copy = tmp_path / "copy"
    shutil.copytree(tree, copy)
    shutil.rmtree(copy / "exp/ko/do_small")
    shutil.rmtree(copy / "exp/en")
    (copy / "exp/ko/analysis/cka.json").unlink()
    (copy / "exp/ko/so_meaning_small/decode/test/utterances.json").unlink()
    (copy / "exp/ko/so_surface_small/decode/test/decode.json").unlink()
    path = copy / "exp/ko/so_surface_small/decode/test/utterances.json"
    path.write_text(path.read_text().replace(str(tree / "audio"), str(copy / "nowhere")))
    markdown, text = write(copy, tmp_path, summary="true")
    Page(text)
    for name in ("do_small", "cka.json", "en, so_surface"):
        assert name in markdown and name in text
    output = capsys.readouterr()
    assert "missing: ko, do, test" in output.err and "without its sound" in output.err
    assert "<audio" not in text
    assert "Korean test" in output.out and "so_meaning" in output.out


def test_one_system_alone(tree, tmp_path):
    markdown, text = write(tree, tmp_path, systems="so_meaning", languages="en")
    Page(text)
    assert "| so_meaning | meaning | meaning | CER |" in markdown


def test_summary_lines_up(tree, tmp_path, capsys):
    write(tree, tmp_path, summary="true")
    table = capsys.readouterr().out.split("\n\n")[0].splitlines()
    assert table[0] == "Korean test"
    column = table[1].index("utt")
    assert all(line[: column + 3].rstrip() == line for line in table[1:])
    assert len({line.index("CER") for line in table[3:]}) == 1


def test_a_comparison_of_other_models_is_left_out_with_a_note(tree, tmp_path, capsys):
    assert "what the systems share inside" in write(tree, tmp_path, systems=SYSTEMS)[0]
    shutil.copytree(tree / "exp", tmp_path / "exp")
    path = tmp_path / "exp/ko/analysis/cka.json"
    path.write_text(path.read_text().replace("ko/do_small", "ko/do_large"))
    markdown, _ = write(tmp_path, tmp_path, languages="ko")
    assert "what the systems share inside" not in markdown
    assert f"{path} is of other models: run stage 17 again" in capsys.readouterr().err


def test_what_stage_17_found_is_told(tree, tmp_path):
    systems = SYSTEMS.split()
    shutil.copytree(tree, tmp_path / "all")
    make_results.write_swaps(tmp_path / "all/exp/ko/analysis/swaps.json", systems)
    markdown, page = write(tmp_path / "all", tmp_path, systems=SYSTEMS)
    for text in (
        f"{systems[0]} – its twin",  # the ceiling
        "writing on their own, means of utterances",
        "token by token",  # decoders
        "null 0.01",  # of other measures
        "do has no decoder of x &lt;y&gt;",  # what could not be compared
        "surface tokens (40 kinds, chance 2.50; 900 rows to learn from, 300 tested",
        "Random labels are learnt as well",  # a probe no better than its control
        "what it needs is there in other coordinates",
        "what it needs may not all be linearly there",
        "Published for the two single-output encoders",
    ):
        assert text.lower() in markdown.lower(), text
    for text in (
        "What the systems share inside",
        "What can be read off the encoders",
        "Encoders exchanged",
        "All layers against all layers",
    ):
        assert text in page
    assert "Korean: encoders exchanged" in markdown
    assert "English: encoders exchanged" not in markdown  # nobody asked for it there
    stale = json.loads((tmp_path / "all/exp/en/analysis/probes.json").read_text())
    stale["models"] = {}
    (tmp_path / "all/exp/en/analysis/probes.json").write_text(json.dumps(stale))
    markdown, _ = write(tmp_path / "all", tmp_path, systems=SYSTEMS)
    assert "probes.json is of other models: run stage 17 again" in markdown


def test_ours_stand_beside_the_published(tree, tmp_path):
    from espnet_ext.report.beside import rows
    from espnet_ext.report.collect import collect

    found = collect(tree / "exp", ["en"], SYSTEMS.split(), "small", "decode", ["test"])
    table = {what: (here, theirs) for what, here, theirs in rows(found.languages[0])}
    assert table["so_surface, surface: error %"][1] == "CER 13.78"
    assert table["do, meaning: error %"][1] == "CER 3.19"
    assert table["CKA so_surface – so_meaning, encoder layer 0 (theirs 0)"][1] == "0.91"
    assert table["CKA so_surface – so_meaning, encoder layer 3 (theirs 11)"][1] == "0.40"
    score = json.loads((tree / "exp/en/do_small/decode/test/score.json").read_text())
    own = next(c for c in score["cells"] if c["name"] == "meaning-meaning")
    rate = percent(own["metrics"][own["metric"]]["rate"])
    assert rate in table["do, meaning: error %"][0]
    markdown, page = write(tree, tmp_path)
    assert "Ours beside them" in markdown and "English: ours beside them" in page
    assert "published, 12 layers" in page
