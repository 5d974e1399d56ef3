"""HTML and SVG that is escaped by construction: text is text unless it was made by `element`."""

import html
from collections.abc import Iterable

VOID = {"meta", "br", "hr", "img", "link", "source", "wbr"}


class Markup(str):
    """Text that is markup already; everything else that goes into `element` is escaped."""

    __slots__ = ()


def element(name: str, /, *children, **attributes) -> Markup:
    """`<name attributes>children</name>`; children may be text, Markup, None or iterables of these.

    A trailing underscore is dropped from attribute names and others become hyphens, True is an
    attribute without value, None and False leave it out.

    >>> element("td", "a < b", class_="own")
    '<td class="own">a &lt; b</td>'
    """
    head = name + "".join(_attribute(key, value) for key, value in attributes.items())
    if name in VOID:
        return Markup(f"<{head}>")
    return Markup(f"<{head}>{join(children)}</{name}>")


def _attribute(name: str, value) -> str:
    if value is None or value is False:
        return ""
    name = name.rstrip("_").replace("_", "-")
    # SVG has attributes in camel case that no keyword rule can give back.
    name = "viewBox" if name == "viewbox" else name
    return f" {name}" if value is True else f' {name}="{html.escape(str(value), quote=True)}"'


def join(children: Iterable) -> Markup:
    """Children one after the other, escaped where they are not Markup."""
    parts = []
    for child in children:
        if child is None:
            continue
        if isinstance(child, Markup):
            parts.append(child)
        elif isinstance(child, str):
            parts.append(html.escape(child, quote=False))
        elif isinstance(child, Iterable):
            parts.append(join(child))
        else:
            parts.append(html.escape(str(child), quote=False))
    return Markup("".join(parts))
