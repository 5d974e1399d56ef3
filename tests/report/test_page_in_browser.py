"""The page in headless Chromium: utterance browser, keyboard, audio, accessibility, speed."""

import csv
import io
import json
import shutil
import urllib.parse

import pytest
from chromium import browser, opened
from pages import HOSTILE, write

SYSTEMS = ("so_surface", "so_meaning", "do")
AUDIO = "#utterance-detail audio"


@pytest.fixture(scope="module")
def chromium():
    with browser() as started:
        yield started


@pytest.fixture(scope="module")
def report(tree, tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    write(tree, folder)
    return folder / "report.html"


@pytest.fixture
def page(chromium, report):
    with opened(chromium, report) as page:
        yield page


def rows_of(tree, lang, system):
    path = tree / f"exp/{lang}/{system}_small/decode/test/utterances.json"
    return json.loads(path.read_text(encoding="utf-8"))["utterances"]


def count(page):
    return page.locator("#browser-count").inner_text()


def chosen_id(page):
    """Return the id of the chosen utterance, from the first facts of the detail."""
    page.wait_for_timeout(50)
    return page.locator("#utterance-detail .facts").first.inner_text().partition(";")[0]


def wait_for(page, condition, seconds=10):
    """Wait for a JavaScript expression; Playwright's own way is blocked by the page's policy."""
    for _ in range(20 * seconds):
        if page.evaluate(condition):
            return
        page.wait_for_timeout(50)
    raise AssertionError(f"not within {seconds} s: {condition}")


def active(page):
    return page.evaluate("document.activeElement.id")


@pytest.mark.parametrize("lang", ["ko", "en"])
def test_errors_and_tokens_of_every_utterance_are_those_of_the_scores(page, tree, lang):
    page.select_option("#filter-group", label={"ko": "Korean, test", "en": "English, test"}[lang])
    for system in SYSTEMS:
        for output in ("surface", "meaning"):
            rows = rows_of(tree, lang, system)
            if output not in rows[0]["hypotheses"]:
                continue
            page.select_option("#filter-output", output)
            page.select_option("#filter-system", system)
            expected = {}
            for row in rows:
                cell = row["cells"].get(f"{output}-{output}")
                text = f"{cell['errors']} / {cell['tokens']}" if cell else "–"
                expected[row["id"]] = text
            shown = {}
            for part in range(0, len(rows), 8):
                page.locator("#utterance-list").evaluate(
                    "(box, y) => (box.scrollTop = y)", part * 56
                )
                page.wait_for_timeout(30)
                texts = page.locator("#utterance-list .row").evaluate_all(
                    "rows => rows.map(r => [r.querySelector('.about').textContent,"
                    " r.querySelector('.errors').textContent])"
                )
                shown |= {about.split(" · ")[-1]: errors for about, errors in texts}
            assert shown == expected


def test_texts_of_all_systems_are_aligned_in_columns(page, tree):
    page.select_option("#filter-group", label="English, test")
    utt = rows_of(tree, "en", "do")[8]
    page.fill("#filter-text", utt["id"])
    page.wait_for_timeout(50)
    grids = page.locator("#utterance-detail table.aligned").evaluate_all(
        "tables => tables.map(t => Object.fromEntries([...t.rows].map(r => [r.title || "
        "r.cells[0].title, [...r.cells].slice(1).map(c => [c.className, c.textContent])])))"
    )
    surface = grids[0]
    assert set(surface) == {"canonical", "reference", "so_surface", "do"}
    assert len({len(cells) for cells in surface.values()}) == 1
    words = [text for _, text in surface["do"] if text not in ("", "∅")]
    assert words == utt["hypotheses"]["surface"].split()
    references = [text for _, text in surface["reference"] if text]
    assert references == utt["texts"]["surface"].split()
    kinds = [kind for kind, _ in surface["do"] if kind in ("s", "d", "i")]
    assert len(kinds) == utt["cells"]["surface-surface"]["errors"]
    for (kind, text), (_, reference) in zip(surface["do"], surface["reference"], strict=True):
        assert kind != "" or text == reference


def test_filters_by_mouse(page, tree):
    page.select_option("#filter-group", label="Korean, test")
    rows = rows_of(tree, "ko", "do")
    errors = [row["cells"].get("surface-surface", {}).get("columns", "") for row in rows]
    for name, letter in (("substitution", "s"), ("deletion", "d"), ("insertion", "i")):
        page.select_option("#filter-errors", name)
        assert count(page).startswith(f"{sum(letter in one for one in errors)} of 24 ")
    page.select_option("#filter-errors", "unscored")
    assert count(page).startswith("1 of 24 ")
    page.click("#filter-reset")
    assert count(page).startswith("24 of 24 ")
    page.select_option("#filter-l1", label="zh")
    assert count(page).startswith("6 of 24 ")
    page.select_option("#filter-speaker", label="kovi0")
    assert count(page).startswith("0 of 24 ")
    assert "No utterance" in page.locator("#utterance-detail").inner_text()
    page.click("#filter-reset")
    distances = [row["distance"] for row in rows]
    page.select_option("#filter-distance", "same")
    assert count(page).startswith(f"{distances.count(0)} of 24 ")
    page.click("#filter-reset")
    page.select_option("#filter-sort", "errors")
    page.wait_for_timeout(50)
    first = page.locator("#utterance-row-0 .errors").inner_text()
    assert int(first.partition(" ")[0]) == max(len(one) - one.count("=") for one in errors)
    page.click("#utterance-row-3")
    assert page.locator("#utterance-row-3").get_attribute("aria-selected") == "true"
    assert chosen_id(page) in page.locator("#utterance-row-3").inner_text()


def test_hypothesis_without_an_alignment_is_not_without_errors(chromium, tree, tmp_path):
    shutil.copytree(tree / "exp", tmp_path / "exp")
    path = tmp_path / "exp/en/do_small/decode/test/utterances.json"
    value = json.loads(path.read_text(encoding="utf-8"))
    rows = value["utterances"]
    scored = [row for row in rows if row["cells"].get("surface-surface")]
    del scored[0]["cells"]["surface-surface"]
    path.write_text(json.dumps(value), encoding="utf-8")
    write(tmp_path, tmp_path, languages="en")
    with opened(chromium, tmp_path / "report.html") as page:
        page.select_option("#filter-errors", "unscored")
        assert count(page).startswith(f"{1 + len(rows) - len(scored)} of {len(rows)} ")
        page.fill("#filter-text", scored[0]["id"])
        assert page.locator("#utterance-row-0 .errors").inner_text() == "–"


def test_search_finds_words_ids_and_confusions(page, tree):
    page.select_option("#filter-group", label="English, test")
    rows = rows_of(tree, "en", "do")
    page.fill("#filter-text", "ZOO")
    matches = [
        row
        for row in rows
        if any("zoo" in text for text in [*row["texts"].values(), *row["hypotheses"].values()])
    ]
    assert matches and int(count(page).partition(" ")[0]) >= len(matches)
    page.fill("#filter-text", rows[5]["id"])
    assert count(page).startswith("1 of 24 ")
    deletions = sum(
        "d" in row["cells"].get("surface-surface", {}).get("columns", "") for row in rows
    )
    page.fill("#filter-text", "→∅")
    assert count(page).startswith(f"{deletions} of 24 ")


def test_everything_by_keyboard(page):
    page.keyboard.press("/")
    assert active(page) == "filter-text"
    page.keyboard.type("kovi")
    assert count(page).startswith("6 of 24 ")
    page.keyboard.press("ArrowDown")
    assert active(page) == "utterance-list"
    first = chosen_id(page)
    page.keyboard.press("ArrowDown")
    assert chosen_id(page) != first
    page.keyboard.press("End")
    listed = page.locator("#utterance-list")
    assert listed.get_attribute("aria-activedescendant") == "utterance-row-5"
    page.keyboard.press("Home")
    assert chosen_id(page) == first
    page.keyboard.press("/")
    page.keyboard.press("Escape")
    assert count(page).startswith("24 of 24 ")
    reached = set()
    for _ in range(14):
        page.keyboard.press("Tab")
        reached.add(active(page))
    names = ("group", "output", "system", "errors", "l1", "speaker", "distance", "sort")
    assert {f"filter-{name}" for name in (*names, "reset", "csv")} <= reached
    assert {"utterance-list", "utterance-detail"} <= reached
    page.focus("#filter-sort")
    page.keyboard.press("ArrowDown")
    assert page.locator("#filter-sort").input_value() == "errors"


def test_recording_plays_and_its_column_is_marked(page):
    page.focus("#utterance-list")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Space")
    wait_for(page, f"document.querySelector('{AUDIO}').played.length > 0")
    page.locator(AUDIO).evaluate("audio => { audio.pause(); audio.currentTime = 0.2 }")
    page.wait_for_selector("#utterance-detail td.now")
    marked = page.locator("#utterance-detail td.now")
    places = marked.evaluate_all(
        "cells => cells.map(c => c.cellIndex + c.closest('table').ariaLabel)"
    )
    assert len(set(places)) == 2, "one column of each output"
    page.locator("#utterance-detail table.aligned td").first.click()
    wait_for(page, f"document.querySelector('{AUDIO}').currentTime < 0.1")


def test_recordings_play_from_their_files_if_the_page_may_not_carry_them(chromium, tree, tmp_path):
    write(tree, tmp_path, languages="ko", audio_mb="0")
    assert b"data:audio" not in (tmp_path / "report.html").read_bytes()
    with opened(chromium, tmp_path / "report.html") as page:
        page.focus("#utterance-list")
        page.keyboard.press("Space")
        wait_for(page, f"document.querySelector('{AUDIO}').played.length > 0")
        assert page.locator(AUDIO).get_attribute("src").startswith("./../")
    moved = tmp_path / "elsewhere/moved/report.html"
    moved.parent.mkdir(parents=True)
    (tmp_path / "report.html").rename(moved)
    with opened(chromium, moved) as page:
        wait_for(page, "document.querySelector('.problem').textContent !== ''")
        assert "not where this page expects it: ./../" in page.locator(".problem").inner_text()
        assert all("ERR_FILE_NOT_FOUND" in problem for problem in page.problems)
        page.problems.clear()


def test_marked_column_follows_the_token_times(chromium, tree, tmp_path):
    shutil.copytree(tree / "exp", tmp_path / "exp")
    rows = rows_of(tree, "en", "do")
    utt = rows[3]
    phones = utt["hypotheses"]["surface"].split()
    times = [f"{utt['id']} 1 {0.2 + 0.01 * n:.2f} 0.01 {p} 0.9" for n, p in enumerate(phones)]
    ctm = tmp_path / "exp/en/do_small/decode/test/ctm.surface"
    ctm.write_text("\n".join(times) + "\n")
    write(tmp_path, tmp_path, languages="en")
    with opened(chromium, tmp_path / "report.html") as page:
        page.fill("#filter-text", utt["id"])
        page.wait_for_selector(AUDIO)
        wait_for(page, f"document.querySelector('{AUDIO}').duration > 0")
        marked = page.locator("table[aria-label^=surface] tr:last-child td.now")
        for number in (0, 3):
            seconds = 0.2 + 0.01 * number + 0.005
            page.locator(AUDIO).evaluate("(audio, time) => { audio.currentTime = time }", seconds)
            marked.wait_for()
            assert marked.inner_text() == phones[number]
        page.locator(AUDIO).evaluate("audio => { audio.currentTime = 0.1 }")
        marked.wait_for(state="detached")  # before the first token


def test_example_opens_in_the_utterance_browser(page):
    button = page.locator("button[data-utterance]").nth(5)
    utterance = button.get_attribute("data-utterance")
    page.fill("#filter-text", "no such text")
    button.click()
    assert chosen_id(page) == utterance
    assert (
        page.locator("#filter-group").evaluate("s => s.selectedOptions[0].text") == "English, test"
    )


def test_hostile_transcript_is_text_in_the_utterance_browser(page):
    page.fill("#filter-text", "<script>alert")
    page.wait_for_timeout(50)
    assert page.locator("#utterance-detail .meant").inner_text() == HOSTILE
    assert page.locator("#utterance-detail script").count() == 0


def test_policy_blocks_other_scripts(chromium, report):
    with opened(chromium, report) as page:
        ran = page.evaluate(
            "() => { const s = document.createElement('script'); s.textContent = 'window.ran = 1';"
            " document.body.append(s); return window.ran }"
        )
        assert ran is None
        page.wait_for_timeout(100)
        assert len(page.problems) == 1 and "Content Security Policy" in page.problems.pop()


def test_tables_and_utterances_as_csv(page, tree):
    link = page.locator("a.csv").first
    text = urllib.parse.unquote(link.get_attribute("href").partition(",")[2])
    rows = list(csv.reader(io.StringIO(text)))
    assert rows[0][:3] == ["language", "set", "system"] and len(rows) == 7
    with page.expect_download() as download:
        link.click()
    assert download.value.suggested_filename == "Error rates.csv"
    page.select_option("#filter-group", label="English, test")
    page.select_option("#filter-speaker", label="enzh1")
    with page.expect_download() as download:
        page.click("#filter-csv")
    rows = list(csv.DictReader(download.value.path().open(encoding="utf-8-sig", newline="")))
    assert len(rows) == 6
    expected = {row["id"]: row for row in rows_of(tree, "en", "do")}
    for row in rows:
        assert row["surface by do"] == expected[row["id"]]["hypotheses"]["surface"]


@pytest.mark.slow
@pytest.mark.parametrize(("theme", "width"), [("light", 1400), ("dark", 390)])
def test_page_has_no_accessibility_problem(chromium, report, theme, width):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs axe")
    with opened(chromium, report, theme=theme, width=width) as page:
        page.evaluate("document.querySelectorAll('details').forEach(d => (d.open = true))")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        result = axe.Axe().run(page)
        problems = [
            (one["id"], [node["html"][:120] for node in one["nodes"][:3]])
            for one in result.response["violations"]
            if one["impact"] in ("moderate", "serious", "critical")
        ]
        assert not problems


def test_wide_tables_say_that_they_scroll(chromium, report):
    without_hint = (
        "[...document.querySelectorAll('.scroll')].filter(b => b.checkVisibility()"
        " && b.scrollWidth > b.clientWidth + 1 && !b.classList.contains('overflows')).length"
    )
    with opened(chromium, report, width=390, height=844) as page:
        page.evaluate("document.querySelectorAll('details').forEach(d => (d.open = true))")
        wait_for(page, "document.querySelectorAll('.scroll.overflows').length > 10")
        wait_for(page, f"{without_hint} === 0")
    with opened(chromium, report, width=2400) as page:
        box = page.locator(".scroll").first
        assert "overflows" not in box.get_attribute("class")


def test_contents_and_error_rates_are_not_cut_off_at_1300_pixels(chromium, tree, tmp_path):
    shutil.copytree(tree / "exp", tmp_path / "exp")
    for path in tmp_path.glob("exp/en/*/decode/test/score.json"):
        score = json.loads(path.read_text())
        for cell in score["cells"]:
            counts = cell["metrics"][cell["metric"]]
            if cell["own"]:  # "PER 12.34, 20 of 24 utt"
                cell |= {"utterances": 20, "unlabelled": 4}
            else:
                counts |= {"rate": None, "interval": None}
                cell |= {"utterances": 0, "not_comparable": 0, "conversion": "canonical phones"}
        path.write_text(json.dumps(score))
    write(tmp_path, tmp_path, languages="en")
    with opened(chromium, tmp_path / "report.html", width=1300) as page:
        for element in ("nav.contents", ".scroll"):
            first = page.locator(element).first
            assert first.evaluate("e => e.scrollWidth <= e.clientWidth + 1"), element
        assert "no canonical forms" in page.locator(".scroll").first.inner_text()
        assert page.locator("#browser-loading").count() == 0  # the utterances are there


def test_korean_is_marked_as_korean(page):
    unmarked = page.evaluate(
        """() => {
          const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
          const found = [];
          while (walker.nextNode()) {
            const { data, parentElement: parent } = walker.currentNode;
            if (!/[\\uac00-\\ud7a3]/.test(data) || parent.closest("script, pre, svg")) continue;
            if (parent.closest("[lang]").lang !== "ko") found.push(data);
          }
          return found;
        }"""
    )
    assert not {text for text in unmarked if text not in HOSTILE}


def test_a_baseline_is_not_the_system_that_is_chosen_at_first(chromium, tree, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(tree / "exp", copy / "exp")
    (copy / "dump").symlink_to(tree / "dump")
    shutil.copytree(copy / "exp/en/do_small/decode", copy / "exp/en/baseline_cloud/decode")
    write(copy, tmp_path, languages="en", baselines="cloud")
    with opened(chromium, tmp_path / "report.html") as page:
        assert page.input_value("#filter-system") == "do"
        page.select_option("#filter-system", "cloud")
        page.select_option("#filter-output", "meaning")
        assert page.input_value("#filter-system") == "cloud"


def test_headings_have_ids_and_links_within_the_page_lead_somewhere(page):
    headings = page.evaluate(
        "[...document.querySelectorAll('main :is(h2, h3, h4)')]"
        ".filter(h => !h.closest('#utterance-detail')).map(h => h.id)"
    )
    assert len(headings) > 20 and all(headings)
    ids = page.evaluate("[...document.querySelectorAll('[id]')].map(e => e.id)")
    assert len(ids) == len(set(ids))
    links = page.evaluate(
        "[...document.querySelectorAll('a[href^=\"#\"]')].map(a => a.getAttribute('href'))"
    )
    assert links and {urllib.parse.unquote(link[1:]) for link in links} <= set(ids)


def test_printed_page_clips_no_table_and_opens_the_details(chromium, report):
    with opened(chromium, report, width=794, height=1123) as page:  # A4 at 96 dpi
        page.emulate_media(media="print")
        page.evaluate("dispatchEvent(new Event('beforeprint'))")
        assert page.evaluate("document.querySelectorAll('details:not([open])').length") == 0
        clipped = page.evaluate(
            "[...document.querySelectorAll('.scroll')].filter(box => box.checkVisibility()"
            " && box.scrollWidth > box.clientWidth + 1)"
            ".map(box => box.getAttribute('aria-label'))"
        )
        assert not clipped
        assert not page.locator("#browser").is_visible()
        assert not page.locator("nav.contents").is_visible()
        page.evaluate("dispatchEvent(new Event('afterprint'))")
        assert page.evaluate("document.querySelectorAll('details:not([open])').length") > 0
