"""Open pages in headless Chromium, where it is installed."""

import contextlib
import shutil
from pathlib import Path

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@contextlib.contextmanager
def browser():
    """Yield a browser of Playwright; skip the test without Playwright or Chromium."""
    api = pytest.importorskip("playwright.sync_api", reason="needs the extra browser (playwright)")
    program = next(filter(None, map(shutil.which, NAMES)), None)
    with api.sync_playwright() as playwright:
        bundled = Path(playwright.chromium.executable_path)
        if program is None and not bundled.exists():
            pytest.skip(f"needs Chromium: none of {', '.join(NAMES)} on PATH")
        options = {"executable_path": program} if program else {}
        started = playwright.chromium.launch(args=["--no-sandbox"], **options)
        yield started
        started.close()


@contextlib.contextmanager
def opened(started, path: Path, *, theme="light", width=1280, height=900):
    """Yield a page of a file; the test fails if the page reports an error."""
    problems = []
    page = started.new_page(viewport={"width": width, "height": height}, color_scheme=theme)
    page.on("console", lambda message: problems.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: problems.append(f"error: {error}"))
    page.on("dialog", lambda dialog: (problems.append("dialog"), dialog.dismiss()))
    page.goto(path.resolve().as_uri())
    page.wait_for_selector("#utterance-row-0")
    page.problems = problems
    yield page
    page.close()
    assert not problems
