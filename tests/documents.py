"""Read the project's Markdown files: which there are, their code blocks and their tables."""

import re
import shlex
from pathlib import Path

import public_surface

ROOT = Path(__file__).parents[1]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.M | re.S)


def documents() -> list[str]:
    """Paths of the Markdown files whose content is checked, relative to the root."""
    paths = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "espnet_ext/README.md"]
    paths += [
        "benchmarks/README.md",
        *(f"{recipe}/README.md" for recipe in public_surface.recipes()),
    ]
    paths += [str(path.relative_to(ROOT)) for path in sorted((ROOT / "docs").glob("*.md"))]
    return [path for path in paths if (ROOT / path).is_file()]


def read(path: str) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


def blocks(text: str, language: str) -> list[str]:
    """Code blocks of a language ("" for none)."""
    return [code for name, code in FENCE.findall(text) if name == language]


def prose(text: str) -> str:
    """The text without its code blocks."""
    return FENCE.sub("", text)


def shell_commands(path: str) -> list[list[str]]:
    """Commands in the shell blocks of a document, as words and without here-documents."""
    commands = []
    for block in blocks(read(path), "sh"):
        block = re.sub(r"<<'(\w+)'\n.*?^\1$", "", block, flags=re.M | re.S)
        for line in block.replace("\\\n", " ").splitlines():
            if words := shlex.split(line, comments=True):
                commands.append(words)
    return commands


def first_column(text: str, heading: str) -> list[str]:
    """Cells below `heading` in the first column of the table that begins with it."""
    table = text[text.index(f"| {heading} |") :].partition("\n\n")[0]
    return [row.split("|")[1] for row in table.splitlines()[2:]]


def anchors(text: str) -> set[str]:
    """Link targets of a document's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", prose(text), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
