"""Numbers such as `1e-3` in options of the command line: `--optim_conf lr=1e-3`.

ESPnet reads them by YAML 1.1, where a number with an exponent needs a point and a sign, so `1e-3`
is text.
"""

import argparse
import re
from typing import Any

from espnet_ext.model import espnet

NestedDictAction: Any = espnet.load("NestedDictAction")
_NUMBER = re.compile(r"(?<![\w.+-])([-+]?\d+)(\.\d*)?[eE]([-+]?)(\d+)(?![\w.])")


def yaml_numbers(text: str) -> str:
    """Return text in which numbers with exponents are written as YAML 1.1 has them.

    >>> yaml_numbers("lr=1e-3"), yaml_numbers("{lr: 2.5E4, betas: [0.9, 1e-1]}")
    ('lr=1.0e-3', '{lr: 2.5e+4, betas: [0.9, 1.0e-1]}')
    >>> yaml_numbers("name=a1e3")
    'name=a1e3'
    """

    def rewritten(match: re.Match) -> str:
        whole, fraction, sign, exponent = match.groups()
        fraction = fraction if fraction and len(fraction) > 1 else ".0"
        return f"{whole}{fraction}e{sign or '+'}{exponent}"

    return _NUMBER.sub(rewritten, text)


class NestedOptions(NestedDictAction):
    """ESPnet's nested options with `yaml_numbers`."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: Any = None) -> None:
        values = yaml_numbers(values) if isinstance(values, str) else values
        super().__call__(parser, namespace, values, option_string)


def read_exponents(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """Let the nested options of a parser read numbers with exponents; return the parser."""
    for action in parser._actions:
        if type(action) is NestedDictAction:
            action.__class__ = NestedOptions
    return parser
