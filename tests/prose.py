"""Find words and constructions that make comments, docstrings, messages and documents hard to read.

python tests/prose.py                    # check every file that the test checks
python tests/prose.py espnet_ext/data    # check a folder or a file

A finding has the form `path:line: 'text': write …`. `RULES` are regular expressions over running
text, in which one space stands for any white space, so that a phrase is found across a line break.
They are applied to docstrings, string literals and comments of Python files, and to other files as
a whole. `NAMES` are identifiers that do not say what they refer to. `# prose: ignore` at the end of
a line skips that line: use it for data and quotations.
"""

import ast
import io
import re
import sys
import tokenize
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SUFFIXES = (".py", ".sh", ".md", ".yaml", ".conf", ".cff", ".toml")
IGNORE = "prose: ignore"
RUN_OUTPUT = re.compile(r"/egs2/[^/]+/[^/]+/(?:data|dump|exp|downloads|RESULTS\.md)\b")

_UNIT = (
    "utterance|output|speaker|language|system|corpus|set|file|line|row|cell|token|label|frame|step|"
    "batch|epoch|layer|hypothesis|verb|command|test|training|decoding|stage|second|process|output's|"
    "name|head|option|key|module|package|word|phone|sound|recording|pair|document|analysis|page"
)
# A word between "a" and "an utterance" that does not link the two.
_WORD = (
    r"(?!(?:is|are|was|be|becomes|never|or|and|but|in|of|on|as|at|to|by|for|from|into|with|without|"
    r"before|after|over|per|such|than|that|which|if|not|outside|inside|beside|within|between|through|"
    r"against|under|around|when|while|has|have)\b)[\w-]+"
)
# (pattern, what to write instead). Patterns ignore case.
RULES = (
    # "a token list an output", "a row an utterance", "utterances a batch", "one a line"
    (rf"\b(?:a|an|one) (?:{_WORD} ){{0,3}}?an? (?:{_UNIT})\b(?! (?:is|has|can|may|must)\b)", "per"),
    (
        r"\b(?:labels?|tokens|utterances|lines|rows|steps|seconds|ms|milliseconds|minutes|hours|"
        r"bytes|kb|threads|gpus?|machines|processes|hypotheses|jobs|layers|columns|frames|samples|"
        rf"bonus|cost|files|models?|vectors?|values?|rate) an? (?:{_UNIT})\b",
        "per",
    ),
    (r"\bfit (?:environment|active|one\b|python|interpreter)", "suitable"),
    (r"\bhow (?:much|many) at a time\b", "parallelism, number of parallel …"),
    (
        r"\b(?:files|trainings|decodings|recordings|utterances|jobs|programs) at a time\b",
        "in parallel",
    ),
    (r"\bheard\b", "annotated, perceived, pre-trained at, encoder states …"),
    (r"\b(?:is|are|was|were|be|been) told\b", "receives, is reported, is known"),
    (r"\b(?:says?|said|tells?|told) of\b", "describe, report"),
    (r"\bto be (?:said|told|heard|had)\b", "name what happens"),
    (r"\bwhatever\b", "for any …"),
    (r"\bwhoever\b", "name the person or program"),
    (r"\b(?:no|some)body\b", "name the person or program"),
    (r"\bnought\b", "zero"),
    (r"\bmend(?:s|ed|ing)?\b", "correct, fix, repair"),
    (r"\blest\b", "so that … not"),
    (r"\bwhat others have\b", "name the tools or people"),
    (r"\bgo(?:es|ing)? on\b|\bwent on\b", "continue"),
    (r"\bas if that were\b", "say what happens"),
    (
        r"(?<!there )(?<!here )\b(?:is|are|was|were) no (?!longer|more|less|such|need|effect)",
        "is not a …",
    ),
    (r"\b(?:is|are|was|were) not there\b", "is missing"),
    (r"\b(?:that|what|which) (?:is|are|was) there\b", "existing, present"),
    (r"\b(?:twice there|there twice|there is there)\b", "duplicate"),
    (r"\balike\b", "equal, similar"),
    (r"\blike(?:liest|lier)\b", "most likely, more likely"),
    (r"\bdearer\b|\bdearest\b", "slower, more expensive"),
    (r"\btak(?:e|es|en|ing) away\b|\btook away\b", "remove"),
    (r"\bdeal(?:s|t|ing)? out\b", "split, distribute"),
    (r"\bput(?:s|ting)? together\b", "join, combine, pool"),
    (r"\bby heart\b", "memorise"),
    (r"\bthe very\b", "the same"),
    (
        r"(?<!small )(?<!a )\brooms?\b(?! (?:impulse|acoustic|response))",
        "package, subpackage",
    ),
    (r"\bso many\b", "N, a number of"),
    (r"\bg(?:ive|ives|iven|iving|ave) back\b", "return"),
    (
        r"(?<!a )(?<!one )(?<!single )(?<!encoder )(?<!forward )\bpass over\b|"
        r"\bpass(?:ed|es|ing) over\b",
        "ignore, skip",
    ),
    (r"\b(?:has|have|had) not(?=[.,;:)])", "lack"),
    (r"\bno use for\b", "does not use, ignores"),
    (r"\b(?:can|could|cannot|not) be told\b", "be determined, be distinguished"),
    (r"\blies? (?:further |nearer |as far )?apart\b", "distance, differ by"),
    (r"\bfor ever\b", "indefinitely"),
    (r"\bhouse rules\b", "rules of the project"),
    (
        r"\b(?:thereof|therein|wherein|whereof|whence|thither|hither|naught|aught|anew|amiss|"
        r"hitherto|henceforth|wherewith|therewith|thereupon|albeit|betwixt|whilst)\b",
        "use a modern word",
    ),
    (r"\bsuffers?\b", "its error rises"),
    (r"\bwith distrust\b|\btame\b", "say what is checked"),
    (r"\bworth of\b", "units of"),
    (r"\bof their own kind\b|\bof whose\b|\bwhose own\b", "split the sentence"),
    (r"\bin the company\b|\bcompany that\b", "batch composition"),
    (r"\bin part\b", "partially, partly"),
)

# Identifiers (variables, arguments, attributes, functions) and the kinds of words to use instead.
NAMES = {
    "alien": "unknown_keys",
    "alike": "independent_of_padding",
    "far": "distance",
    "found": "what was found: hypotheses, matches, problems",
    "given": "arguments, options, provided",
    "heard": "encoder_states, phones, recognised",
    "odd": "unexpected, invalid",
    "own": "parser, config, row: what it is",
    "rest": "remaining, remainder",
    "said": "tokens, text, spoken",
    "sure": "confidence",
    "theirs": "name the second operand",
    "told": "documented, reported, message",
    "wanted": "expected, required",
    "worth": "score, weight",
}
TEST_NAMES = re.compile(
    r"test_(?:what|nothing|nobody|somebody|whoever|whatever|who|of)_|_(?:said|told|heard)$"
)


@dataclass(frozen=True)
class Finding:
    path: str
    line: int
    text: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: '{self.text}': write {self.remedy}"


_SPACE = r"(?:[ \t]+|[ \t]*\n[ \t]*)"  # within a paragraph


def _compile(pattern: str) -> re.Pattern:
    """Compile a pattern in which a space outside a look-behind stands for any white space."""
    parts = re.split(r"(\(\?<[!=][^)]*\))", pattern)
    parts[::2] = [part.replace(" ", _SPACE) for part in parts[::2]]
    return re.compile("".join(parts), re.IGNORECASE)


_PATTERNS = [(_compile(pattern), remedy) for pattern, remedy in RULES]


def check_file(path: Path) -> list[Finding]:
    """Return the findings of one file, in order of lines."""
    text = path.read_text(encoding="utf-8")
    name = str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)
    ignored = {n for n, line in enumerate(text.splitlines(), 1) if line.rstrip().endswith(IGNORE)}
    ignored |= {n for n, line in enumerate(text.splitlines(), 1) if f"{IGNORE} -->" in line}
    if path.suffix == ".py":
        findings = [*_check_python_text(name, text), *_check_names(name, ast.parse(text))]
    else:
        findings = list(_check_text(name, _without_comment_signs(text), 1))
    unique = {(one.line, one.text): one for one in findings if one.line not in ignored}
    return [unique[key] for key in sorted(unique)]


def _check_text(path: str, text: str, first_line: int) -> Iterator[Finding]:
    for pattern, remedy in _PATTERNS:
        for match in pattern.finditer(text):
            line = first_line + text.count("\n", 0, match.start())
            yield Finding(path, line, " ".join(match[0].split()), remedy)


def _without_comment_signs(text: str) -> str:
    """Replace `#` at the start of lines by spaces, so that a comment reads as running text."""
    return re.sub(r"^([ \t]*)#+", lambda match: match[0].replace("#", " "), text, flags=re.M)


def _check_python_text(path: str, source: str) -> Iterator[Finding]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield from _check_text(path, node.value, node.lineno)
    for line, comment in _comments(source):
        yield from _check_text(path, comment, line)


def _comments(source: str) -> Iterator[tuple[int, str]]:
    """Comments with their first line; comments on consecutive lines are one."""
    block: list[str] = []
    start = last = 0
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type != tokenize.COMMENT:
            continue
        line = token.start[0]
        if block and line != last + 1:
            yield start, "\n".join(block)
            block = []
        if not block:
            start = line
        block.append(token.string.lstrip("#"))
        last = line
    if block:
        yield start, "\n".join(block)


def _check_names(path: str, tree: ast.AST) -> Iterator[Finding]:
    for line, name in _defined_names(tree):
        plain = name.strip("_")
        if plain in NAMES:
            yield Finding(path, line, name, NAMES[plain])
        elif TEST_NAMES.search(name) and name.startswith("test_"):
            yield Finding(path, line, name, "a name that states the expected behaviour")


def _defined_names(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Names that the code defines: variables, arguments, functions, classes and attributes."""
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name, ctx=ast.Store()) | ast.arg(arg=name):
                yield node.lineno, name
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                yield node.lineno, name
            case ast.Attribute(attr=name, ctx=ast.Store()):
                yield node.lineno, name


def files_below(paths: Iterable[str]) -> list[Path]:
    """Return the checked files among `paths` and below folders, sorted."""
    files: set[Path] = set()
    for name in paths:
        path = ROOT / name
        candidates = path.rglob("*") if path.is_dir() else [path]
        files |= {one for one in candidates if one.is_file() and one.suffix in SUFFIXES}
    return sorted(one for one in files if not RUN_OUTPUT.search(str(one)))


def main() -> int:
    import test_prose

    paths = sys.argv[1:] or test_prose.checked_files()
    paths = [str(Path(path).resolve()) if Path(path).exists() else path for path in paths]
    findings = [one for path in files_below(paths) for one in check_file(path)]
    print("\n".join(map(str, findings)))
    print(f"{len(findings)} findings", file=sys.stderr)
    return int(bool(findings))


if __name__ == "__main__":
    sys.exit(main())
