"""Whether the transcripts of an output of token type `phone` are phones, or words by mistake.

Other notations than that of the CMU dictionary are warnings, and only in English: such tokens may
be intended. Words are an error, because a model would learn one token per word, and the error rate
of "phones" would be one of words.
"""

import re

from espnet_ext.data.checks.context import Checked, TokenCounts, labelled_rows
from espnet_ext.data.checks.findings import ERROR, WARNING
from espnet_ext.data.directory import text_files
from espnet_ext.text.cmudict import lexicon
from espnet_ext.text.phones import is_phone, strip_stress
from espnet_ext.text.tags import split_tags

WORDS = "words-as-phones"  # code of the error
MIN_WORDS = 0.5  # share of the tokens that are words if a transcript is one of words
_UNIDENTIFIED = "ERR"  # a phone that annotators could not identify (corpora.transcripts)
_POSITION = re.compile(r"_[BIES]$")  # of Kaldi: AO1_B


def check_phones(checked: Checked, output: str) -> None:
    """Report an output of words, or tokens that are not one of the 39 phones, ERR or a tag."""
    file = text_files(checked.folder)[output]
    other, total = TokenCounts(), 0
    for row in labelled_rows(checked.folder, output):
        phones = split_tags(row[2])[0].split()
        total += len(phones)
        other.add(row, (p for p in phones if not is_phone(p) and p != _UNIDENTIFIED))
    if other.counts.total() >= MIN_WORDS * total:
        candidates = {token for token in other.counts if not _is_notation(token)}
        words = _words(checked, output, candidates)
        count = sum(other.counts[word] for word in words)
        if total and count >= MIN_WORDS * total:
            first = next(token for token in other.counts if token in words)
            message = (
                f"'{first}' is a word, not a phone, as are {100 * count / total:.0f} % of the "
                f"tokens, but the token type of {output} is phone"
            )
            remedy = (
                f'choose another token type, such as --token_types "{output}=char …" (token_types '
                "in conf/recipe.conf), or write phones separated by spaces: HH AH L OW"
            )
            checked.add(ERROR, WORDS, (file, *other.first_rows[first]), message, remedy)
            return
    for token, count in other.counts.most_common():
        line, utt_id = other.first_rows[token]
        if not _may_be_english(checked, utt_id):
            continue  # its phones have no common notation
        times = "once" if count == 1 else f"{count} times in all, first here"
        message = f"'{token}' is not a phone ({times})"
        remedy = (
            "correct it, unless it is an intended token; phones are capitals without digits. "
            "espnet-ext import --from kaldi reads other notations (AO1, ao, IPA)"
        )
        checked.add(WARNING, "not-phones", (file, line, utt_id), message, remedy)


def _is_notation(token: str) -> bool:
    """Return whether a token is certainly no word: one letter, or a phone such as `ao` or `AO1_B`.

    >>> _is_notation("ao"), _is_notation("AO1_B"), _is_notation("p"), _is_notation("we")
    (True, True, True, False)
    """
    return len(token) < 2 or is_phone(strip_stress(_POSITION.sub("", token).upper()))


def _may_be_english(checked: Checked, utt_id: str) -> bool:
    languages = checked.languages
    language = languages if isinstance(languages, str) else languages.get(utt_id, "")
    return language in ("", "en")


def _words(checked: Checked, output: str, candidates: set[str]) -> set[str]:
    """Return the candidates that are English words, or words of the meaning."""
    words: set[str] = set()
    available = text_files(checked.folder)
    if "meaning" in available and output != "meaning":
        for _, _, text in labelled_rows(checked.folder, "meaning"):
            words.update(candidates.intersection(text.split()))
    if candidates and _may_be_english(checked, ""):
        words.update(token for token in candidates if token.lower() in lexicon())
    return words
