"""What the corpora of AI Hub share: labels in JSON, parts, first languages, speakers' names.

An AI Hub corpus is a tree of `{1.Training,2.Validation}/{라벨링데이터,원천데이터}`, each holding
folders or zip archives (`TL_…`, `TS_…`, `VL_…`, `VS_…`); a label and its sound have one name.
"""

import hashlib
import hmac
import json
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from espnet_ext.corpora import marks
from espnet_ext.corpora.delivered import (
    FOREIGN_SOUNDS,
    SOUNDS,
    Place,
    Reader,
    chunks,
    decoded,
    spread,
    walk,
)
from espnet_ext.corpora.large import Entry, Fault, Store
from espnet_ext.corpora.marks import Side
from espnet_ext.corpora.preparation import by_turns, require_folder
from espnet_ext.errors import UserError

SPLITS = ("auto", "official", "speakers")
SETS = ("train", "valid", "test")
# Written only if asked for, as they help to tell who speaks.
PERSONAL_TABLES = ("utt2birthyear", "utt2country", "utt2gender", "utt2topik")
_LANGUAGES = """
    ko 한국어 korean, en 영어 english, zh 중국어 chinese, zh mandarin, ja 일본어 japanese,
    vi 베트남어 vietnamese, th 태국어 thai, ru 러시아어 russian, mn 몽골어 mongolian,
    id 인도네시아어 indonesian, de 독일어 german, fr 프랑스어 french, es 스페인어 spanish,
    pt 포르투갈어 portuguese, it 이탈리아어 italian, uz 우즈베크어 uzbek, uz 우즈베키스탄어,
    tr 터키어 turkish, tr 튀르키예어, kk 카자흐어 kazakh, my 미얀마어 burmese, km 크메르어 khmer,
    km 캄보디아어, ne 네팔어 nepali, hi 힌디어 hindi, bn 벵골어 bengali, ar 아랍어 arabic,
    tl 타갈로그어 tagalog, tl 필리핀어 filipino, pl 폴란드어 polish, ms 말레이어 malay,
    uk 우크라이나어 ukrainian, nl 네덜란드어 dutch, fa 페르시아어 persian, ur 우르두어 urdu,
    ky 키르기스어 kyrgyz, cs 체코어 czech, hu 헝가리어 hungarian, ro 루마니아어 romanian,
    sv 스웨덴어 swedish, lo 라오어 lao, tg 타지크어 tajik, si 싱할라어 sinhala, yue 광둥어 cantonese
"""
LANGUAGES = {name: row.split()[0] for row in _LANGUAGES.split(",") for name in row.split()[1:]}
_CODE = re.compile(r"[A-Za-z]{0,4}\d{2,8}")  # a speaker's number, not a name
_TOKEN = re.compile(r"(?=(?:[A-Za-z]*\d){2})(?!(?:\d*[A-Za-z]){6})[A-Za-z0-9]{2,14}")
_PART = re.compile(r"training|validation|(?<![a-z0-9])([tv])[ls]_", re.IGNORECASE)
_CHUNK = 200  # labels that a process reads between two reports


@dataclass(frozen=True)
class Privacy:
    """What of a speaker may stand in data directories."""

    personal: bool = False  # birth year, country, gender, grade
    key: str = ""  # makes pseudonyms that others cannot make


def read_key(path: str) -> str:
    """The secret in a file, for `Privacy.key`; none without a file."""
    if not path:
        return ""
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as handle:
            key = handle.read().strip()
    except OSError as error:
        remedy = "correct --pseudonym_key_file, or leave it out"
        raise UserError(f"{path}: cannot read: {error.strerror}", remedy) from None
    if not key:
        raise UserError(f"{path}: is empty", "write a long secret into it, and keep it")
    return key


def load_label(content: bytes) -> dict[str, Any]:
    """A label's JSON object; ValueError with what is wrong otherwise.

    >>> load_label("{\\"fileName\\": \\"가.wav\\"}".encode("cp949"))
    {'fileName': '가.wav'}
    """
    text = decoded(content)
    try:
        value = json.loads(text)
    except RecursionError:
        raise ValueError("is nested without end") from None
    except ValueError as error:
        raise ValueError(f"is no JSON: '{error}'") from None
    if not isinstance(value, dict):
        raise ValueError("is no JSON object")
    return value


def value_of(data: Any, *path: str) -> str:
    """The text (or number) at a path of a label; "" if there is none.

    >>> value_of({"a": {"b": " c "}}, "a", "b"), value_of({"a": 1}, "a", "b"), value_of([], "a")
    ('c', '', '')
    """
    for name in path:
        if not isinstance(data, dict):
            return ""
        data = data.get(name)
    if type(data) is str:  # nearly always
        return data.strip()
    if isinstance(data, bool) or not isinstance(data, str | int | float):
        return ""
    try:
        return str(data).strip()
    except ValueError:  # a number of thousands of digits
        return ""


def no_text(data: Any, *path: str) -> str:
    """Why `value_of` found nothing at a path.

    >>> no_text({"a": [" b "]}, "a"), no_text({"a": ""}, "a"), no_text({}, "a")
    ('a is no text', 'a is empty', 'a is empty')
    """
    for name in path:
        data = data.get(name) if isinstance(data, dict) else None
    is_text = data is None or (isinstance(data, str | int | float) and not isinstance(data, bool))
    return f"{path[-1]} is {'empty' if is_text else 'no text'}"


def part_of(name: str) -> str:
    """The part of the published corpus that a path within it belongs to.

    >>> part_of("01.데이터/1.Training/a"), part_of("VL_3. 일본어.zip/a"), part_of("a")
    ('train', 'valid', '')
    """
    match = _PART.search(name)
    if not match:
        return ""
    return "train" if (match[1] or match[0]).lower()[0] == "t" else "valid"


def language_of(*names: str) -> str:
    """A first language's code, from the first name that is known; else the first name as it is.

    >>> language_of("", "베트남어"), language_of("English"), language_of("에스페란토어", "기타")
    ('vi', 'en', '에스페란토어')
    """
    for name in names:
        if known := LANGUAGES.get(name.lower()):
            return known
    first = next((name for name in names if name), "")
    return re.sub(r"[^\w-]+", "_", first)[:40].strip("_")


def pseudonym(name: str, key: str) -> str:
    """The same code for the same name, from which the name cannot be read.

    Without a key whoever has a list of names can try them all; with one, only its owner.
    """
    secret, message = (text.encode("utf-8", "surrogatepass") for text in (key, name))
    return hmac.new(secret, message, hashlib.sha256).hexdigest()[:12]


def public_speaker(name: str, key: str) -> str:
    """A speaker's code as published, or a pseudonym where it could be a name.

    >>> public_speaker("EN0123", ""), public_speaker("김철수", "")
    ('EN0123', 'spk44402711024d')
    """
    return name if _CODE.fullmatch(name) else f"spk{pseudonym(name, key)}"


def public_stem(stem: str, key: str) -> str:
    """A file's name where it is made of codes and numbers alone, else a pseudonym.

    >>> public_stem("EN10QC226_EN0005_20210801", "")
    'EN10QC226_EN0005_20210801'
    """
    if all(_TOKEN.fullmatch(token) for token in stem.split("_")) and len(stem) <= 80:
        return stem
    return f"u{pseudonym(stem, key)}"


def prompt_text(prompt: str) -> tuple[Side, tuple[str, ...]]:
    """What was to be read, without glosses in brackets, and what was odd.

    A prompt is plain text: brackets that do not pair are punctuation there.

    >>> prompt_text("1) 밀라노(Milano)에 갔다.")[0].text, prompt_text("밀라노(Milano)에")[0].text
    ('1 밀라노 Milano 에 갔다', '밀라노에')
    """
    read = marks.read(prompt, disfluent=(), unintelligible="drop", alone="drop")
    if read.spelled.text or not (plain := marks.clean(prompt)):
        return read.spelled, read.counts
    return Side(plain), ("texts to be read with odd brackets, which are taken for punctuation",)


def birth_year(text: str) -> str:
    """Four digits, or nothing.

    >>> birth_year("1991"), birth_year("91년생")
    ('1991', '')
    """
    return text if re.fullmatch(r"(?:19|20)\d\d", text) else ""


# -- reading


def gather(
    store: Store,
    root: str,
    read_label: Callable[[bytes, Place], Entry | Fault],
    public_name: Callable[[str], str],
    nj: int,
) -> None:
    """All labels (`.json`) and sounds below the root, into the store."""

    def labels() -> Iterator[Place]:
        sounds: list[Place] = []
        for place in walk(root, store.found):
            suffix = place.suffix
            if suffix == ".json":
                yield place
            elif suffix in SOUNDS:
                sounds.append(place)
                if len(sounds) >= 1000:
                    store.add_audio(sounds)
                    sounds.clear()
            elif suffix in FOREIGN_SOUNDS:
                store.add_foreign(place)
            else:
                store.counts["files that are neither label nor sound"] += 1
        store.add_audio(sounds)

    work = partial(read_labels, read_label=read_label, public_name=public_name)
    for results in spread(work, chunks(labels(), _CHUNK), nj):
        store.add(results)


def read_labels(
    places: list[Place],
    read_label: Callable[[bytes, Place], Entry | Fault],
    public_name: Callable[[str], str],
) -> list[Entry | Fault]:
    """Each place's entry or what is wrong with it."""
    reader = Reader()
    results: list[Entry | Fault] = []
    for place in places:
        try:
            content = reader.read(place)
        except (OSError, ValueError) as error:
            reason = f"label cannot be read: {getattr(error, 'strerror', None) or error}"
            results.append(Fault(public_name(place.stem), place.stem, reason))
            continue
        results.append(read_label(content, place))
    reader.close()
    return results


def require_corpus(path: str, corpus: str, remedy: str) -> str:
    """The folder, or the one archive, that a corpus lies in."""
    if path.lower().endswith(".zip"):
        try:
            with open(path, "rb"):
                return os.path.abspath(path)
        except OSError as error:
            raise UserError(f"{path}: {error.strerror}", f"correct the path; {remedy}") from None
    return require_folder(path, corpus, remedy)


def split(store: Store, mode: str) -> Callable[[str, str], str]:
    """What says which set a (part, speaker) is in; the rule goes to the notes.

    "official": the published Validation tests; of the speakers of Training every tenth validates.
    "speakers": eight in ten speakers train, one validates, one tests. "auto": official where both
    parts are there.
    """
    pairs = store.speakers()
    of_part = {part: sorted({one for which, one in pairs if which == part}) for part, _ in pairs}
    if mode == "auto":
        mode = "official" if of_part.get("train") and of_part.get("valid") else "speakers"
        store.notes.append(f"what is here allows --split {mode}")
    everyone = sorted({speaker for _, speaker in pairs})
    if mode == "official":
        if missing := [part for part in ("train", "valid") if part not in of_part]:
            names = {"train": "Training", "valid": "Validation"}
            what = " and ".join(names[part] for part in missing)
            raise UserError(
                f"{store.corpus}: --split official: nothing of {what} is here",
                "--split speakers, or get that part too",
            )
        dealt = by_turns(of_part["train"], {"valid": 1})
        both = len(set(of_part["train"]) & set(of_part["valid"]))
        store.notes.append(
            "split as published: Validation tests; of the speakers of Training every tenth is "
            f"valid; {both} of the {len(of_part['valid'])} speakers of test train or validate too"
            + ("; --split speakers keeps them apart" if both else "")
        )
        return lambda part, speaker: "test" if part == "valid" else dealt.get(speaker, "train")
    if len(everyone) < 3:
        message = f"{store.corpus}: {len(everyone)} speakers are too few to split"
        raise UserError(message, "at least three are needed; get more of the corpus")
    place = by_turns(everyone, {"valid": 1, "test": 1})
    store.notes.append("split by speakers: of every ten, eight train, one valid, one test")
    return lambda part, speaker: place[speaker]
