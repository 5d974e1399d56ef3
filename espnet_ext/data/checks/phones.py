"""Whether the transcripts of an output of token type `phone` are phones, or words by mistake.

Other notations than that of the CMU dictionary are warnings, and only in English: such tokens may
be intended. An error is what no notation of phones can be: words, phones that are not separated by
spaces, and long tokens that hardly ever repeat. A model would learn one token per word or sentence,
and the error rate of "phones" would be one of words or sentences.
"""

import re
import unicodedata
from collections.abc import Iterable

from espnet_ext.data.checks.context import Checked, TokenCounts, labelled_rows
from espnet_ext.data.checks.findings import ERROR, WARNING
from espnet_ext.data.directory import text_files
from espnet_ext.text.cmudict import lexicon
from espnet_ext.text.phones import is_joined, is_phone, strip_stress
from espnet_ext.text.tags import split_tags

WORDS = "words-as-phones"  # code of an error
JOINED = "joined-phones"  # code of an error
WRONG_UNITS = (WORDS, JOINED)  # errors of a whole output, not of single utterances
MIN_WORDS = 0.5  # share of the tokens that are words (or joined phones) if the output is
_UNIDENTIFIED = "ERR"  # a phone that annotators could not identify (corpora.transcripts)
_POSITION = re.compile(r"_[BIES]$")  # of Kaldi: AO1_B
# Tokens of a set of symbols repeat, and are short. Other tokens are phones of an unknown notation
# without spaces between them.
_LONG = 6  # letters; a syllable of Hangul has up to three
_MIN_LONG = 10  # long tokens, at least
_MAX_REPEATED = 2.0  # occurrences of each, on average


def check_phones(checked: Checked, output: str) -> None:
    """Report an output that is not phones, or tokens that are not one of the 39, ERR or a tag."""
    file = text_files(checked.folder)[output]
    other, total = TokenCounts(), 0
    for row in labelled_rows(checked.folder, output):
        phones = split_tags(row[2])[0].split()
        total += len(phones)
        other.add(row, (p for p in phones if not is_phone(p) and p != _UNIDENTIFIED))

    def are_most(code: str, tokens: Iterable[str], what: str, to_separate: str) -> bool:
        """Report an error if these tokens are most of all."""
        wrong = set(tokens)
        count = sum(other.counts[token] for token in wrong)
        if not total or count < MIN_WORDS * total:
            return False
        first = next(token for token in other.counts if token in wrong)
        message = (
            f"'{first}' is {what}, as are {100 * count / total:.0f} % of the tokens, but the token "
            f"type of {output} is phone"
        )
        remedy = (
            f'choose another token type, such as --token_types "{output}=char …" (token_types in '
            f"conf/recipe.conf), or {to_separate} separated by spaces: HH AH L OW"
        )
        checked.add(ERROR, code, (file, *other.first_rows[first]), message, remedy)
        return True

    if other.counts.total() >= MIN_WORDS * total:
        candidates = {token for token in other.counts if not _is_notation(token)}
        words = _words(checked, output, candidates)
        if are_most(WORDS, words, "a word, not a phone", "write phones"):
            return
        joined = {token for token in candidates if is_joined(token)}
        what = "several phones, not one"
        if are_most(JOINED, joined or _long(other, candidates), what, "write the phones"):
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


def _long(other: TokenCounts, candidates: set[str]) -> set[str]:
    """Return the long tokens, if they repeat less than the symbols of any notation do."""
    tokens = {one for one in candidates if len(unicodedata.normalize("NFD", one)) >= _LONG}
    count = sum(other.counts[token] for token in tokens)
    return tokens if count >= _MIN_LONG and count < _MAX_REPEATED * len(tokens) else set()


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
