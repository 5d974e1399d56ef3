"""The page in headless Chromium with a microphone that plays a file: record, answer, replay."""

import contextlib
import shutil
import threading
import time

import pytest
from application import LIMITS, NOISE, RATE, audio, judge_of
from chromium import NAMES

from espnet_ext.serving import server
from espnet_ext.serving.app import create_app

CURSOR = "!document.getElementById('cursor').hidden"
ANSWERED = "!document.getElementById('answer').hidden && !document.querySelector('[aria-busy]')"


@pytest.fixture(scope="module")
def address():
    """The address of a server in this process."""
    listener = server.listen("127.0.0.1", 0)
    app = create_app(judge_of(), LIMITS, hosts=server.LOOPBACK_NAMES)
    running = server.configured_server(app)
    thread = threading.Thread(target=running.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    yield server.address_of(listener)
    running.should_exit = True
    thread.join(20)


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    api = pytest.importorskip("playwright.sync_api", reason="needs the extra browser (playwright)")
    program = next(filter(None, map(shutil.which, NAMES)), None)
    if program is None:
        pytest.skip(f"needs Chromium: none of {', '.join(NAMES)} on PATH")
    microphone = tmp_path_factory.mktemp("microphone") / "noise.wav"
    microphone.write_bytes(audio())
    options = [
        *("--no-sandbox", "--use-fake-device-for-media-stream"),
        *("--use-fake-ui-for-media-stream", f"--use-file-for-fake-audio-capture={microphone}"),
    ]
    with api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=program, args=options)
        yield started
        started.close()


@contextlib.contextmanager
def opened(chromium, address, **options):
    """Yield the page; the test fails if the console has an error."""
    problems = []
    page = chromium.new_page(**options)
    page.on("console", lambda message: problems.append(message.text))
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.goto(address)
    page.wait_for_selector("#model:not(:empty)")
    yield page
    page.close()
    assert not problems


def wait_for(page, condition, seconds=20):
    end = time.monotonic() + seconds
    while not page.evaluate(condition):
        assert time.monotonic() < end, f"not within {seconds} s: {condition}"
        page.wait_for_timeout(50)


def test_record_answer_and_replay_by_keyboard(chromium, address):
    with opened(chromium, address) as page:
        page.fill("#prompt", "i think")
        page.focus("#record")
        page.keyboard.press("Enter")
        page.wait_for_selector("#record.recording")
        page.wait_for_timeout(1200)
        page.keyboard.press("Enter")  # the button has kept the focus
        wait_for(page, ANSWERED)
        assert page.inner_text("#details .name") == 'TH → S in "think"'
        words = page.locator("#lane-words button")
        assert words.all_inner_texts() == ["i", "think"]
        assert "instead of TH IH NG K" in words.nth(1).get_attribute("aria-label")
        words.first.focus()
        page.keyboard.press("ArrowRight")
        assert page.evaluate("document.activeElement.textContent") == "think"
        page.keyboard.press("Enter")
        wait_for(page, CURSOR)
        wait_for(page, f"!({CURSOR})")
        page.locator("#wave").click(position={"x": 60, "y": 20})
        wait_for(page, CURSOR)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_upload_on_a_phone_is_accessible(chromium, address, theme):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    phone = {"viewport": {"width": 390, "height": 800}, "color_scheme": theme}
    recording = {"name": "a.flac", "mimeType": "audio/flac", "buffer": audio(kind="FLAC")}
    with opened(chromium, address, **phone) as page:
        page.set_input_files("#file", recording)
        wait_for(page, ANSWERED)
        for path in ("", "api"):
            if path:
                page.goto(address + path)
            width = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
            assert page.evaluate(width) == 0
            assert not axe.Axe().run(page).response["violations"]


def test_hostile_texts_are_shown_as_text(chromium, address):
    with opened(chromium, address) as page:
        name = "<img src=x onerror=alert(1)>.wav"
        page.set_input_files(
            "#file", {"name": name, "mimeType": "audio/wav", "buffer": audio(NOISE, RATE)}
        )
        wait_for(page, ANSWERED)
        assert page.locator("#answer img").count() == 0
        assert name in page.evaluate("document.querySelector('#json pre').textContent")
