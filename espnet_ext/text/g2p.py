"""G2P for lines of text: a policy for words that cannot be pronounced, and counts of readings."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from espnet_ext.errors import UserError

ERROR, KEEP, UNK = "error", "keep", "unk"


def pronounce_text(
    text: str,
    pronounce: Callable[[str], str],
    unknown: str = ERROR,
    unk: str = "<unk>",
) -> str:
    """Return `pronounce(text)`, with a policy for words that cannot be pronounced.

    Args:
        pronounce: G2P for a text. It raises `UserError` if the text cannot be pronounced.
        unknown: what to do with such words: "error": raise the `UserError`; "keep": keep the
            spelling; "unk": replace the word by `unk`. The words between two such words are
            pronounced together.

    >>> from espnet_ext.text.korean import pronounce
    >>> pronounce_text("국물이 漢字 좋다", pronounce, "unk")
    '궁무리 <unk> 조타'
    """
    try:
        return pronounce(text)
    except UserError:
        if unknown == ERROR:
            raise
    parts: list[str] = []
    run: list[str] = []  # consecutive words that can be pronounced
    for word in [*text.split(), None]:
        if word is not None and _is_pronounceable(word, pronounce):
            run.append(word)
            continue
        if run:
            parts.append(pronounce(" ".join(run)))
            run = []
        if word is not None:
            parts.append(word if unknown == KEEP else unk)
    return " ".join(filter(None, parts))


@dataclass
class EnglishPronouncer:
    """G2P of English texts (`english_g2p`) that counts the words with several pronunciations.

    >>> pronounce = EnglishPronouncer()
    >>> pronounce("I live in Korea"), pronounce.counts()["several"]
    ('AY L IH V IH N K AO R IY AH', 2)
    """

    stress: bool = False
    choices: Counter[str] = field(default_factory=Counter)  # `SpokenWord.choice` → words
    sources: Counter[str] = field(default_factory=Counter)  # `SpokenWord.source` → words
    readings: dict[str, Counter[str]] = field(default_factory=dict)  # word → phones → number

    def __call__(self, text: str) -> str:
        from espnet_ext.text.english_g2p import ONLY, transcribe

        spoken = transcribe(text, self.stress)
        for word in spoken:
            self.choices[word.choice] += 1
            self.sources[word.source] += 1
            if word.choice != ONLY:
                self.readings.setdefault(word.word.lower(), Counter())[word.phones] += 1
        return " ".join(word.phones for word in spoken)

    def check(self, text: str) -> None:
        """Raise a `UserError` if the text cannot be pronounced, without counting its words."""
        from espnet_ext.text.english_g2p import words

        words(text)

    def counts(self) -> dict:
        """Return the counts, as the result file of `espnet-ext g2p` has them.

        `several` words have several pronunciations. In `by_context` of these, the neighbouring
        words decided; in the others (`commoner`), the most common pronunciation was chosen.
        """
        from espnet_ext.text.english_g2p import COMMONER, CONTEXT

        return {
            "words": self.choices.total(),
            "several": self.choices[CONTEXT] + self.choices[COMMONER],
            "by_context": self.choices[CONTEXT],
            "commoner": self.choices[COMMONER],
            "sources": dict(sorted(self.sources.items())),
            "readings": {
                word: dict(counts.most_common()) for word, counts in sorted(self.readings.items())
            },
        }

    def summary(self) -> str:
        """Return the counts in one line."""
        counts = self.counts()
        return (
            f"{counts['several']} of {counts['words']} words have several pronunciations: "
            f"{counts['by_context']} chosen by the neighbouring words, {counts['commoner']} the "
            "most common one"
        )


def _is_pronounceable(word: str, pronounce: Callable[[str], str]) -> bool:
    try:
        if isinstance(pronounce, EnglishPronouncer):
            pronounce.check(word)
        else:
            pronounce(word)
    except UserError:
        return False
    return True


def pronounce_lines(
    lines: Iterable[str],
    pronounce: Callable[[str], str],
    name: str,
    *,
    kaldi: bool = False,
    unknown: str = ERROR,
    unk: str = "<unk>",
    sentinel: str = "",
    errors: list[UserError] | None = None,
) -> Iterator[str]:
    """Yield the pronunciation of every line.

    Args:
        name: name of the input in error messages.
        kaldi: whether the first field of a line is an utterance id, which is kept.
        unknown: policy for words that cannot be pronounced, see `pronounce_text`.
        sentinel: a transcript that means "no transcript". It is kept unchanged.
        errors: if given, errors are appended to this list instead of raised. The line of an error
            becomes empty, or is omitted if `kaldi`.

    Raises:
        UserError: a line cannot be pronounced and `errors` is None. The message contains the line
            number.
    """
    for number, line in enumerate(lines, 1):
        utterance, text = "", line.rstrip("\r\n")
        if kaldi:
            utterance, text = [*text.split(maxsplit=1), "", ""][:2]
            if not utterance:
                _report(UserError(f"{name}:{number}: no utterance id", "remove the line"), errors)
                continue
        try:
            if sentinel and text.strip() == sentinel:
                pronounced = text
            else:
                pronounced = pronounce_text(text, pronounce, unknown, unk)
        except UserError as error:
            location = f"{name}:{number}: " + (f"utterance {utterance}: " if utterance else "")
            _report(UserError(location + error.message, error.remedy), errors)
            if kaldi:
                continue
            pronounced = ""
        yield f"{utterance} {pronounced}".strip() if kaldi else pronounced


def _report(error: UserError, errors: list[UserError] | None) -> None:
    if errors is None:
        raise error from None
    errors.append(error)


def combine_errors(errors: list[UserError], limit: int = 20) -> UserError:
    """Return one error that lists the first `limit` of several errors.

    >>> errors = [UserError("a:1: bad", "fix it"), UserError("a:9: bad")]
    >>> print(combine_errors(errors, 1).message)
    2 errors; everything that can be pronounced was written
      a:1: bad; remedy: fix it
      … and 1 more
    """
    listed = [
        f"  {error.message}" + (f"; remedy: {error.remedy}" if error.remedy else "")
        for error in errors[:limit]
    ]
    if len(errors) > limit:
        listed.append(f"  … and {len(errors) - limit} more")
    count = f"{len(errors)} error{'s' if len(errors) > 1 else ''}"
    return UserError(
        "\n".join([f"{count}; everything that can be pronounced was written", *listed]),
        "correct the text, or choose --unknown keep or --unknown unk",
    )
