"""What the page shows of single utterances: examples, data of the browser, recordings."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from espnet_ext.errors import UserError
from espnet_ext.progress import say
from espnet_ext.report.browser_data import browser_data
from espnet_ext.report.collect import Results
from espnet_ext.report.examples import Example, choose, example
from espnet_ext.report.recordings import data_uri, embed_all, link
from espnet_ext.report.utterances import Utterance

Encode = Callable[[str], bytes]


@dataclass(frozen=True)
class ShownExample:
    """An example utterance of the page.

    Args:
        set_name: the test set that it is from.
        audio: its recording as a data URI; None without one.
        audio_id: id of its `<audio>` element.
    """

    example: Example
    set_name: str
    audio: str | None
    audio_id: str


@dataclass(frozen=True)
class Utterances:
    """What the page shows of single utterances.

    Args:
        examples: examples by language code.
        data: all utterances for the utterance browser (`browser_data`); empty without any.
    """

    examples: Mapping[str, Sequence[ShownExample]] = field(default_factory=dict)
    data: str = ""


class _Reader:
    """Reads recordings, and keeps the messages about those that cannot be read."""

    def __init__(self, encode: Encode):
        self.encode = encode
        self.problems: list[str] = []

    def __call__(self, source: str) -> bytes | None:
        try:
            return self.encode(source)
        except UserError as error:
            self.problems.append(error.message)
            return None


def shown_utterances(
    results: Results, count: int, page: Path, limit: int, encode: Encode
) -> Utterances:
    """Return the examples of each language's first set, and all utterances, with recordings.

    The recordings of the examples are embedded. Those of all other utterances are too, if they do
    not exceed the limit; otherwise the page links to their files.

    Args:
        count: examples per language.
        page: the HTML file, which links to recordings.
        limit: bytes of audio that it may carry.
        encode: returns a recording as FLAC, or raises a `UserError`.
    """
    shown: dict[str, list[ShownExample]] = {}
    sources: dict[int, str | None] = {}  # id() of an Utterance → where the page has its recording
    read = _Reader(encode)
    for language in results.languages:
        if not language.utterances:
            continue
        set_name, first = next(iter(language.utterances.items()))
        for utt_id in choose(first.utterances, count):
            chosen = example(first, utt_id)
            content = read(chosen.audio)
            audio_id, uri = f"audio-{len(sources)}", None
            if content and len(content) <= limit:
                limit -= len(content)
                uri = data_uri(content)
                sources[id(first.utterances[utt_id])] = f"#{audio_id}"
            one = ShownExample(chosen, set_name, uri, audio_id)
            shown.setdefault(language.code, []).append(one)
    for message in read.problems:
        say(f"warning: an example has no audio: {message}")
    others = [
        utterance
        for language in results.languages
        for utterances in language.utterances.values()
        for utterance in utterances.utterances.values()
        if id(utterance) not in sources
    ]
    for utterance, source in zip(others, _sources(others, page, limit, encode), strict=True):
        sources[id(utterance)] = source
    return Utterances(shown, browser_data(results, lambda utterance: sources[id(utterance)]))


def _sources(
    utterances: Sequence[Utterance], page: Path, limit: int, encode: Encode
) -> list[str | None]:
    """Return where the page has each recording: in a data URI, in a file, or nowhere."""
    read = _Reader(encode)
    embedded = embed_all(utterances, read, limit)
    if embedded is not None:
        if read.problems:
            say(
                f"warning: {page} lacks the recordings of {len(read.problems)} utterances, which "
                f"cannot be read; the first: {read.problems[0]}"
            )
        return [data_uri(content) if content else None for content in embedded]
    links = [link(utterance.audio, page) for utterance in utterances]
    linked = sum(one is not None for one in links)
    say(
        f"note: {page} plays the recordings of {linked} of {len(links)} utterances from their "
        f"files, because they are larger than {limit / 1e6:.1f} MB (--audio_mb)"
    )
    return links
