"""Write a report in tests, and parse its page."""

import contextlib
from html.parser import HTMLParser
from unittest import mock

from espnet_ext.bin import report as command
from espnet_ext.report import html

SYSTEMS = "so_surface so_meaning do"
HOSTILE = '<script>alert("1")</script> & "맛"'  # the meaning of the second sentence
VOID = {"meta", "br", "hr", "img", "link", "input"}


def no_plot(_item, _prefix, _systems):
    return "<svg></svg>"


class Page(HTMLParser):
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

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag):
        assert self.stack and self.stack.pop() == tag, f"misplaced </{tag}>"

    def handle_data(self, data):
        if self.cells and self.stack and {"td", "th"} & set(self.stack):
            self.cells[-1] += data + " "
        if not {"style", "script"} & set(self.stack):
            self.words.append(data)

    @property
    def text(self):
        return " ".join("".join(self.words).split())


def write(tree, out, systems=SYSTEMS, languages="ko en", plots=False, **options):
    """Run the command; return RESULTS.md, RESULTS_details.md and report.html.

    Drawing takes most of the time: figures are empty unless `plots`.
    """
    arguments = [
        *("--exp_dir", tree / "exp", "--dump_dir", tree / "dump/raw", "--langs", languages),
        *("--systems", systems, "--train_tag", "small", "--decode_tag", "decode"),
        *("--sets", "test", "--results", out / "RESULTS.md", "--html", out / "report.html"),
    ]
    for name, value in options.items():
        arguments += [f"--{name}", value]
    drawn = contextlib.nullcontext() if plots else mock.patch.object(html, "svg", no_plot)
    with drawn:
        assert command.main([str(argument) for argument in arguments]) == 0
    names = ("RESULTS.md", "RESULTS_details.md", "report.html")
    return tuple((out / name).read_text("utf-8") for name in names)
