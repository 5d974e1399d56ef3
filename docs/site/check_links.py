"""Check a web site on disk: links lead to files and anchors that exist; it loads no remote file.

python docs/site/check_links.py FOLDER
"""

import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

# Attribute of a tag whose target is loaded when the page is shown
LOADED = {"script": "src", "img": "src", "link": "href", "iframe": "src", "audio": "src"}


class Page(HTMLParser):
    """Collects the links, the loaded files and the anchors of a page."""

    def __init__(self, path: Path):
        super().__init__()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.anchors: set[str] = {""}
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attributes}
        self.anchors |= {values[name] for name in ("id", "name") if name in values}
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        if target := values.get(LOADED.get(tag, "")):
            self.loaded.append(target)


def findings(folder: Path) -> list[str]:
    """Return what is wrong, one line per finding."""
    pages = {path: Page(path) for path in folder.rglob("*.html") if "_static" not in path.parts}
    wrong = []
    for path, page in pages.items():
        name = path.relative_to(folder)
        for target in page.loaded:
            if urlsplit(target).scheme in ("http", "https") or target.startswith("//"):
                wrong.append(f"{name}: loads {target} from the network")
        for target in [*page.links, *page.loaded]:
            parts = urlsplit(target)
            if parts.scheme or parts.netloc:
                continue
            file = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if not file.exists():
                wrong.append(f"{name}: no file {target}")
            elif file in pages and unquote(parts.fragment) not in pages[file].anchors:
                wrong.append(f"{name}: no heading {target}")
    for style in folder.rglob("*.css"):
        text = style.read_text(encoding="utf-8")
        if "url(http" in text or "url(//" in text or "@import" in text:
            wrong.append(f"{style.relative_to(folder)}: loads a file from the network")
    return wrong


def main(argv: list[str]) -> int:
    wrong = findings(Path(argv[0]).resolve())
    for line in wrong:
        print(f"error: {line}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
