"""The documentation as a web site: it builds without warnings, and its reference is complete."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "docs/site"), str(ROOT / "tests")]
import check_links  # noqa: E402
import public_surface  # noqa: E402
import site_pages as pages  # noqa: E402

needs_docs = pytest.mark.skipif(
    not all(importlib.util.find_spec(name) for name in ("sphinx", "myst_parser", "furo", "griffe")),
    reason='pip install -e ".[docs]"',
)


def test_every_command_and_option_is_in_the_reference():
    text = pages.commands_page()
    headings = set(re.findall(r"^#+ (.*)", text, re.M))
    for verb, names in public_surface.commands().items():
        section = text[text.index(f"espnet-ext {verb}\n") :]
        for name in names:
            *subcommand, option = name.split()
            assert f"espnet-ext {' '.join([verb, *subcommand])}" in headings, (verb, name)
            assert option in section, (verb, name)
    run = text[text.index("## run.sh") : text.index("## espnet-ext")]
    for option in public_surface.run_options():
        assert option in run, option


@pytest.mark.parametrize(
    ("option", "code", "message"),
    [("--help", 0, "build.sh [DIR]"), ("--x", 2, "unknown option --x")],
)
def test_options_of_the_build_do_not_build(option, code, message):
    command = ["bash", str(ROOT / "docs/build.sh"), option]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == code and message in done.stdout + done.stderr


@needs_docs
def test_the_api_reference_is_read_without_torch():
    code = (
        "import sys; sys.path.insert(0, 'docs/site'); import site_pages as pages\n"
        "text = ''.join(pages.api_pages().values())\n"
        "assert 'torch' not in sys.modules\n"
        "for name in ('DualSpeech2Text', 'from_pretrained', 'export_head', 'add_sequence'):\n"
        "    assert f'# {name}' in text, name"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_markup_in_docstrings_is_shown_as_it_is():
    text = pages._markdown("Return `a<b>` of <c>::\n\n    x = 1\n\n>>> f(1)\n2")
    assert text == (
        "Return `a<b>` of \\<c\\>:\n\n````text\nx = 1\n````\n\n\n````python\n>>> f(1)\n2\n````\n\n"
    )


def test_long_signatures_have_one_parameter_per_line():
    arguments = ", ".join(f"argument_{number}: dict[str, int]" for number in range(4))
    lines = pages._wrapped(f"def f({arguments}) -> list[int]").splitlines()
    assert lines[0] == "def f(" and lines[-1] == ") -> list[int]" and len(lines) == 6
    assert lines[1] == "    argument_0: dict[str, int],"


def test_check_of_the_site_finds_what_is_wrong(tmp_path):
    (tmp_path / "b.html").write_text('<h1 id="here">B</h1>')
    (tmp_path / "a.html").write_text(
        '<a href="b.html#here">x</a><a href="b.html#there">x</a><a href="c.html">x</a>'
        '<a href="https://example.org">x</a><script src="https://example.org/x.js"></script>'
    )
    assert sorted(check_links.findings(tmp_path)) == [
        "a.html: loads https://example.org/x.js from the network",
        "a.html: no file c.html",
        "a.html: no heading b.html#there",
    ]


@needs_docs
@pytest.mark.slow
def test_the_site_builds_and_needs_no_network(tmp_path):
    done = subprocess.run(
        ["bash", "docs/build.sh", str(tmp_path / "site")],
        cwd=ROOT,
        env={**os.environ, "PYTHON": sys.executable},
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "site/index.html").is_file()
    assert check_links.findings(tmp_path / "site") == []
    text = (tmp_path / "site/reference/commands.html").read_text(encoding="utf-8")
    assert "new-recipe" in text or "new_recipe" in text
