"""Write the pages of the documentation site: the guides as they are, and what is generated.

    python docs/site/site_pages.py FOLDER

Generated are the index, the reference of the commands (from their parsers), that of the Python API
(from docstrings, read without importing a module) and the gallery of reports.
"""

import argparse
import json
import logging
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

ROOT = Path(__file__).resolve().parents[2]
# Copied with their paths, so that the links between them stay as they are
PAGES = (
    *("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/*.md", "benchmarks/README.md"),
    *("espnet_ext/README.md", "egs2/*/*/README.md", "egs2/*/*/RESULTS*.md"),
)
FILES = (
    *("docs/*.svg", "egs2/*/*/figures/*.svg"),
    *("CITATION.cff", "LICENSE", "run.sh", "egs2/*/*/run.sh"),
)
NOTEBOOK = "docs/first_steps.ipynb"
WIDTH = "100"  # characters of help texts
COMMANDS, API, GALLERY = "reference/commands", "reference/api", "gallery"


def main(argv: list[str]) -> None:
    folder = Path(argv[0])
    for pattern in (*PAGES, *FILES):
        for path in sorted(ROOT.glob(pattern)):
            target = folder / path.relative_to(ROOT)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
            if path.suffix == ".md":  # the notebook becomes a page
                text = path.read_text(encoding="utf-8")
                target.write_text(text.replace("steps.ipynb)", "steps.md)"), encoding="utf-8")
    pages = {f"{COMMANDS}.md": commands_page(), **api_pages(), f"{GALLERY}.md": gallery(folder)}
    if (ROOT / NOTEBOOK).is_file():
        pages[NOTEBOOK.replace(".ipynb", ".md")] = notebook_page(ROOT / NOTEBOOK)
    pages["index.md"] = index(folder, list(pages))
    for name, text in pages.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")


def index(folder: Path, generated: list[str]) -> str:
    """Return the first page: the lists of all pages, which become the navigation."""
    guides = [
        f"docs/{name}" for name in ("first_steps", "README") if f"docs/{name}.md" in generated
    ]
    guides += ["docs/README"] * ("docs/README" not in guides)
    listed = re.findall(r"\]\((\w+)\.md\)", (ROOT / "docs/README.md").read_text(encoding="utf-8"))
    guides += [f"docs/{name}" for name in listed if f"docs/{name}" not in guides]
    recipes = [
        str(path.relative_to(folder).with_suffix(""))
        for path in sorted(folder.glob("egs2/*/*/README.md"))
    ]
    groups = {
        "Start": ["Introduction <README>"],
        "Guides": guides,
        "Recipes and results": [f"Gallery of reports <{GALLERY}>", *recipes],
        "Reference": [COMMANDS, f"{API}/index", "espnet_ext/README"],
        "Project": ["CONTRIBUTING", "benchmarks/README", "CHANGELOG"],
    }
    lists = [
        f"```{{toctree}}\n:caption: {caption}\n:maxdepth: 1\n\n" + "\n".join(names) + "\n```\n"
        for caption, names in groups.items()
    ]
    return (
        "# espnet-ext\n\nSecond-language speech recognition with two transcripts per utterance.\n\n"
        + ("\n".join(lists))
    )


# -- commands


class _Caught(Exception):
    """Carries the parser out of a command that is about to parse its arguments."""


def parser_of(command: Callable) -> argparse.ArgumentParser:
    """Return the parser of a command. Nothing is run."""

    def catch(parser: argparse.ArgumentParser, *_args: Any, **_options: Any) -> None:
        raise _Caught(parser)

    with mock.patch.object(argparse.ArgumentParser, "parse_args", catch):
        try:
            command([])
        except _Caught as caught:
            return caught.args[0]
    raise AssertionError(f"{command} parsed no arguments")


def help_texts(parser: argparse.ArgumentParser, name: str) -> Iterator[tuple[str, str]]:
    """Yield (command, help) of a parser and of its subcommands."""
    parser.prog = name
    yield name, parser.format_help()
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for word, sub in action.choices.items():
                yield from help_texts(sub, f"{name} {word}")


def commands_page() -> str:
    """Return the help of run.sh and of every verb of `espnet-ext`."""
    from espnet_ext.bin.main import module_of, usage, verbs
    from espnet_ext.pipeline.command_line import help_text
    from espnet_ext.pipeline.recipe import read_recipe

    os.environ["COLUMNS"] = WIDTH
    run_help = help_text(read_recipe(ROOT / "egs2/mini_l2/dual1"))
    parts = [
        "# Commands and options\n\nThe texts of `--help`. [The guide](../docs/command_line.md) has "
        "examples.\n",
        f"## run.sh\n\n{_fenced(run_help)}",
        f"## espnet-ext\n\n{_fenced(usage())}",
    ]
    for verb in verbs():
        module = module_of(verb)
        for name, text in help_texts(parser_of(module.main), f"espnet-ext {verb}"):
            level = "#" * min(name.count(" ") + 1, 4)
            parts.append(f"{level} {name}\n\n{_fenced(text)}")
    return "\n".join(parts)


def _fenced(text: str, language: str = "text") -> str:
    return f"````{language}\n{text.rstrip()}\n````\n"


# -- Python API


def api_pages() -> dict[str, str]:
    """Return one page per package: all public functions and classes with their docstrings."""
    import griffe

    logging.getLogger("griffe").setLevel(logging.ERROR)  # a docstring may join parameters
    package = griffe.load(
        "espnet_ext",
        search_paths=[str(ROOT)],
        docstring_parser="google",
        docstring_options={"returns_multiple_items": False, "returns_named_value": False},
        allow_inspection=False,
    )
    modules = sorted(_modules(package), key=lambda module: module.path)
    packages: dict[str, list] = {}
    for module in modules:
        name = module.path if module.is_init_module else module.parent.path
        packages.setdefault(name, []).append(module)
    pages = {f"{API}/{name}.md": _package_page(name, members) for name, members in packages.items()}
    names = "\n".join(sorted(packages))
    pages[f"{API}/index.md"] = (
        "# Python API\n\nAll public functions and classes, by package. Most users need "
        "[`DualSpeech2Text`](../../docs/decoding.md) only.\n\n"
        f"```{{toctree}}\n:maxdepth: 1\n\n{names}\n```\n"
    )
    return pages


def _modules(package: Any) -> Iterator[Any]:
    yield package
    for module in package.modules.values():
        if module.is_init_module:
            yield from _modules(module)
        elif module.name != "__main__":
            yield module


def _package_page(name: str, modules: list) -> str:
    parts = [f"# {name}\n"]
    for module in modules:
        if not module.is_init_module:
            parts.append(f"## {module.path.removeprefix(name + '.')}\n")
        parts.append(_docstring(module))
        for member in module.members.values():
            if member.is_alias or member.name.startswith("_"):
                continue
            if member.is_class or member.is_function:
                parts.append(_member(member, "###"))
    return "\n".join(part for part in parts if part)


def _member(member: Any, level: str) -> str:
    parts = [f"{level} {member.name}\n"]
    if member.is_class:
        bases = ", ".join(str(base) for base in member.bases)
        fields = [
            f"    {m.name}: {m.annotation}" + (f" = {m.value}" if m.value is not None else "")
            for m in member.members.values()
            if m.is_attribute
            and m.annotation
            and not m.name.startswith("_")
            and "instance-attribute" not in m.labels - {"class-attribute"}
        ]
        head = f"class {member.name}" + (f"({bases})" if bases else "")
        parts.append(_fenced("\n".join([head, *fields]), "python"))
        parts.append(_docstring(member))
        for method in member.members.values():
            if method.is_function and not method.name.startswith("_") and method.has_docstring:
                parts.append(_member(method, level + "#"))
    else:
        parts.append(_fenced(_wrapped(f"def {member.signature()}"), "python"))
        parts.append(_docstring(member))
    return "\n".join(part for part in parts if part)


def _wrapped(signature: str) -> str:
    """Return a signature with one parameter per line if it is long."""
    if len(signature) <= 90:
        return signature
    start, _, remaining = signature.partition("(")
    parameters, depth, line = [], 1, ""
    for position, character in enumerate(remaining):
        depth += (character in "([{") - (character in ")]}")
        if depth == 0:
            return "\n".join(
                [f"{start}(", *parameters, f"    {line.strip()},", remaining[position:]]
            )
        if depth == 1 and character == ",":
            parameters.append(f"    {line.strip()},")
            line = ""
        else:
            line += character
    return signature


def _docstring(member: Any) -> str:
    if not member.docstring:
        return ""
    parts = []
    for section in member.docstring.parsed:
        kind = section.kind.value
        if kind == "text":
            parts.append(_markdown(section.value))
        elif kind in ("parameters", "returns", "yields", "raises", "attributes"):
            rows = [_row(item, kind) for item in section.value]
            parts.append(f"**{kind.capitalize()}**\n\n" + "\n".join(rows) + "\n")
        elif kind == "examples":
            parts += [_markdown(text) for _, text in section.value]
        else:  # a note
            parts.append(_markdown(str(getattr(section.value, "contents", section.value))))
    return "\n".join(parts)


def _row(item: Any, kind: str) -> str:
    name = str(item.annotation) if kind == "raises" else getattr(item, "name", "")
    description = _escape(" ".join(item.description.split()))
    return f"- `{name}`: {description}" if name else f"- {description}"


def _markdown(text: str) -> str:
    """Return the text of a docstring as Markdown: doctests and indented lines become blocks."""
    blocks = []
    for block in re.split(r"\n\s*\n", text.strip("\n")):
        lines = block.splitlines()
        start = next((n for n, line in enumerate(lines) if line.startswith(">>>")), None)
        if start is not None:
            before, code = lines[:start], lines[start:]
            blocks += [_escape("\n".join(before))] * bool(before)
            blocks.append(_fenced("\n".join(code), "python"))
        elif all(line.startswith("    ") for line in lines):
            blocks.append(_fenced("\n".join(line[4:] for line in lines)))
        else:
            blocks.append(_escape(re.sub("::$", ":", block)))
    return "\n\n".join(blocks) + "\n"


def _escape(text: str) -> str:
    """Escape what Markdown would take for markup, outside of code spans."""
    pieces = re.split(r"(`+[^`]*`+)", text)
    return "".join(
        piece if number % 2 else re.sub(r"([<>\[\]*_{}|~])", r"\\\1", piece)
        for number, piece in enumerate(pieces)
    )


# -- reports and the notebook


def gallery(folder: Path) -> str:
    """Return the page of all results: RESULTS.md of the recipes, and pages that lie beside them."""
    parts = [
        "# Gallery of reports\n\nThe last stage of `run.sh` writes `RESULTS.md` (one page), "
        "`RESULTS_details.md`, and `report.html`, which has audio, alignments and figures as well. "
        "These are the results in the repository. `bash docs/build.sh` also includes the "
        "`report.html` of experiments that it finds in `egs2/*/*/exp`.\n"
    ]
    for path in sorted(folder.glob("egs2/*/*/RESULTS.md")):
        recipe = path.parent.relative_to(folder)
        title = re.search(r"^# (.*)", path.read_text(encoding="utf-8"), re.M)
        parts.append(f"## {title[1] if title else recipe}\n")
        lines = [f"[recipe]({recipe}/README.md)", f"[one page]({recipe}/RESULTS.md)"]
        if (path.parent / "RESULTS_details.md").exists():
            lines.append(f"[all tables]({recipe}/RESULTS_details.md)")
        report = ROOT / recipe / "exp/report.html"
        if report.is_file():
            shutil.copyfile(report, path.parent / "report.html")
            lines.append(f"{{download}}`report.html <{recipe}/report.html>`")
        parts.append(" · ".join(lines) + "\n")
    parts.append("```{toctree}\n:hidden:\n:glob:\n\negs2/*/*/RESULTS*\n```\n")
    return "\n".join(parts)


def notebook_page(path: Path) -> str:
    """Return a notebook as Markdown: texts, code, and the output that is stored in it."""
    parts = []
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(source + "\n")
            continue
        parts.append(_fenced(source, "python"))
        for output in cell["outputs"]:
            text = output.get("text") or output.get("data", {}).get("text/plain", [])
            parts.append(_fenced("".join(text)))
    return "\n".join(parts)


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    main(sys.argv[1:])
