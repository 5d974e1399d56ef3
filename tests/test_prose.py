"""Keep words and constructions that are hard to read out of the project: see prose.py."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from prose import IGNORE, ROOT, check_file, files_below  # noqa: E402

CHECKED = (
    *(path.name for path in ROOT.glob("*.*") if path.is_file()),
    *("benchmarks", "conf", "docs", "egs2", "espnet_ext", "local", "tests"),
)
# These contain the words as data.
NOT_CHECKED = ("tests/prose.py", "tests/test_prose.py")


def checked_files() -> list[str]:
    files = {str(path.relative_to(ROOT)) for path in files_below(CHECKED)}
    return sorted(files - set(NOT_CHECKED))


@pytest.mark.parametrize("path", checked_files())
def test_prose_is_plain(path):
    findings = check_file(ROOT / path)
    assert not findings, "\n" + "\n".join(map(str, findings))


def check(tmp_path, name: str, text: str) -> list[str]:
    (tmp_path / name).write_text(text, encoding="utf-8")
    return [f"{one.line}: {one.text}" for one in check_file(tmp_path / name)]


def test_phrase_is_found_across_lines_with_the_line_of_its_start(tmp_path):
    assert check(tmp_path, "a.md", "Fine.\n\nWrite a token\nlist an output.\n") == [
        "3: a token list an output"
    ]
    assert check(tmp_path, "a.sh", "# unless a fit\n# environment is active\n") == [
        "1: fit environment"
    ]


def test_docstrings_comments_and_messages_are_checked(tmp_path):
    source = (
        'def f():\n    """Mend it."""\n    x = 1  # nought\n    raise ValueError(f"{x}: lest")\n'
    )
    assert check(tmp_path, "a.py", source) == ["2: Mend", "3: nought", "4: lest"]


def test_identifiers_are_checked(tmp_path):
    source = "def heard(own, count):\n    found = count\n    return found\n"
    assert check(tmp_path, "a.py", source) == ["1: heard", "1: own", "2: found"]
    assert check(tmp_path, "a.py", "def test_what_cannot_be_is_said():\n    pass\n") == [
        "1: test_what_cannot_be_is_said"
    ]


def test_plain_text_has_no_findings(tmp_path):
    text = (
        "There is no checksum. It is no longer used. Give an utterance an id. One token list per "
        "output. An error of an output such as a token. The loss of an utterance."
    )
    assert check(tmp_path, "a.md", text) == []


def test_a_line_can_be_ignored(tmp_path):
    assert check(tmp_path, "a.py", f'x = "nought"  # {IGNORE}\n') == []
