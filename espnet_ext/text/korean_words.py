"""Marks on Korean words whose pronunciation spelling alone does not determine.

Some sound changes depend on the structure of the word. 김밥 gim-bap ("rice roll") has a plain b,
but 비빔밥 bi-bim-bap ("mixed rice") a tense one: [bi-bim-ppap]. Marks (`korean_rules.MARKS`) come
from, in this order:

- `korean_words.txt`: beginnings of words with marks between their syllables.
- Verb stems with their endings (art. 24): 신다 sin-da [sin-tta], "to wear (shoes)".
- Endings and nouns after the adnominal ending -(으)ㄹ -(eu)l (art. 27): 할 것 hal geot [hal kkeot],
  "something to do". (An adnominal verb form modifies the noun that follows it.)
- Saisiot, a linking ㅅ, in syllables that rarely occur without it (art. 30).
- `korean_sino.txt`: pairs of Sino-Korean syllables in which ㄹ l makes a following ㄷ d, ㅅ s or ㅈ
  j tense (art. 26): 발전 bal-jeon [bal-jjeon], "progress".
- Neighbouring words (`mark_word_boundary`, `is_verb_in_context`), for example an inserted n before
  words that begin with i or y (art. 29): 한 일 han il [han nil], "work done".
"""

import functools
import re
from pathlib import Path

from espnet_ext.errors import UserError
from espnet_ext.text import hangul
from espnet_ext.text.korean_rules import CLUSTER_NOUNS, MARKS, TENSE, Syllable

WORDS = Path(__file__).with_name("korean_words.txt")
SINO = Path(__file__).with_name("korean_sino.txt")
_MARKS = "".join(MARKS).replace(" ", "").replace(".", "")
_PARTICLES = (
    "(?:이|가|은|는|을|를|의|에|에서|에게|도|만|과|와|로|으로|까지|부터|처럼|보다|밖에|뿐|조차|이나|나|"
    "라도|이라도)"
)

# Stems of verbs and adjectives that end in ㄴ n or ㅁ m, with endings whose lead becomes tense
# after them (art. 24). Only endings that are not spelled like something else are listed.
_STEM = re.compile(
    "^(?P<stem>껴안|끌어안|얼싸안|부둥켜안|떠안|살아남|눈감|가다듬|쓰다듬|다듬|더듬|보듬|머금|서슴|"
    "거머삼|주워담|쓸어담|뛰어넘|타넘|갈아신|가슴|[신안감남넘담닮삼숨심품뿜검참곰굼])"
    "(?P<ending>고(?=$|서|는|도|요|자|만|말|싶|있|파)|다(?=$|가|니|는|면|고|지|던|시|만)|"
    "지(?=$|만|도|는|요|를|않|말|마|못)|게(?=$|도|요|끔|나|는|시)|던(?=$|데|지|가|걸)|더(?=니|라|군|냐|구)|"
    "거(?=나|든|라|니)|든(?=지|가)|자마자|도록|듯|습|겠|구나|군|길래|소서|되(?=$))"
)
_NOT_STEMS = re.compile(  # nouns and other words that _STEM matches
    "^(?:감지(?!만|는|도)|검지(?!만|는|도)|심지(?!만|는|도)|숨지|담지(?!만|는|도)|감다감|가슴|안다(?=고|는|면|지|던|니|만)|참고(?=$|하|해|했|한|할|합|로|서|문|자|인|가|를|에|도|는|사)|"
    "신고(?=하|해|했|한|할|합|로|서|자|제|를|가|는|도|에|의|식|센|만|포)|남게임|안도록$)"
)
# Stems with the nominal ending 기 gi, which becomes tense too: 참기 cham-gi [cham-kki], "enduring"
_NOMINAL = re.compile(
    "^(?:참|닮|삼|품|뿜|더듬|다듬|쓰다듬|가다듬|머금|젊|굶(?=기를)|넘(?=기를))기(?!름|미|생)"
)
# What may follow a noun: particles, the copula, and verb endings that turn it into a verb
_AFTER_NOUN = re.compile(f"{_PARTICLES}*(?:이?다|입니다|이에요|이고|하.*|되.*|한|해.*|했.*|화.*)?")
# Words that are a noun or a verb with different sounds: 신고 sin-go is "report" [sin-go] or
# "wearing (shoes)" [sin-kko]
NOUN_OR_VERB = frozenset(("신고", "참고", "감지", "검지", "심지", "담지", "숨지", "안다"))
# 안다 an-da is "to embrace" [an-tta] after these words, and when it stands alone (as in a
# dictionary). Otherwise it is "to know" [an-da].
_EMBRACE = re.compile(
    "^(?:아기|아이|애|아들|딸|인형|강아지|고양이|엄마|아빠|어머니|아버지|몸|목|허리|어깨|무릎|알)[을를]$|"
    "^(?:꼭|꼬옥|꽉|와락|덥석|덥썩|끌어|껴|살포시|살며시|포근히|힘껏|서로)$|^(?:품|가슴|팔|품속)에$|"
    "^(?:팔|가슴|손)로$|^(?:두팔|양팔|팔|가슴|품)으로$"
)
# 리 ri, a measure of distance, which forms one word with a preceding numeral
_RI = re.compile("리(?=$|도|를|나|길|밖|쯤|까지|가)")
_BEFORE_RI = re.compile("^몇$|[일이삼사오육칠팔구십백천만]$")

# Syllables whose tail ㅅ is nearly always a saisiot, and words that are exceptions
_SAISIOT = frozenset("냇샛랫콧햇뱃갯촛찻횟젯뒷릿윗귓핏혓깻댓잿팻툇훗맷텃탯횃홧딧굣쇳춧챗줏겟칫닷")
_NO_SAISIOT = frozenset(("닷새", "댓새", "햇수", "뒷다"))

# Adnominal verb forms of one syllable: stem + ㄹ l
_ADNOMINAL = frozenset("할갈볼올쓸탈잘될낼쉴릴킬칠을칠뵐칠줄살질")
# Last syllables, with a tail, of verb stems whose adnominal forms end in 을 eul, 은 eun or 는 neun
_CLOSED_STEMS = frozenset(
    "먹읽입있없앉받잡찾씻믿닫걷넣놓좋많같죽웃벗신안참남넘담숨닦볶깎섞묶겪낮높깊맞잊늦찍막녹작적"
    "식굽싫잃앓닳옳끊끓않얻묻굳뜯뻗쏟했았었겠였갔왔됐봤"
)
# Nouns that an adnominal form commonly modifies: 것 "thing", 수 "way", 때 "time", …
_AFTER_ADNOMINAL = re.compile(
    "^(?:것|거|걸|게|건|겁|껀|수(?=$|는|가|도|를|록|밖|조|있|없|야|나)|데(?=$|가|는|도|를|서|다|없|있)|"
    "바(?=$|를|가|는|도|와|에|다)|적(?=$|이|에|은|도|엔|과)|곳|도리|줄(?=$|을|은|도|로|만|알|모|이|은)|"
    "지(?=$|가|는|도|를|요)|듯|성(?=싶)|상(?=싶)|법(?=하|한|도|이)|뻔|셈|작정|정도|자신|생각|계획|겨를|"
    "기회|경우|때|사람|집|책(?!상)|시간|준비|방법|것들|가능|길이|길은|데서|동안|도움|버스|기차|장소|돈|밥)"
)
# Endings of longer nouns in ㄹ l that look like an adnominal form
_NOUNS_IN_L_ROWS = """
    서울 거울 겨울 방울 저울 개울 여울 노을 마을 가을 고을 얼굴 하늘 오늘 바늘 그늘 마늘 비늘 연필
    교실 거실 침실 병실 욕실 사실 현실 진실 요일 내일 생일 매일 휴일 평일 과일 파일 메일 제일 통일
    정말 반말 한글 비밀 나물 눈물 국물 콧물 빗물 동물 식물 건물 선물 보물 인물 계절 예술 기술 수술
    미술 마술 소설 건설 시설 전설 개발 출발 역할 생활 경찰 관찰 지하철 호텔 들
"""
_NOUNS_IN_L = tuple(_NOUNS_IN_L_ROWS.split())
_SHORT_NOUNS_IN_L = frozenset("물말일글달길날별술쌀칼돌팔발불들철굴털풀절")
# Endings and contracted nouns after -(으)ㄹ within a word, whose lead becomes tense (art. 27), and
# what must precede: "any" syllable in ㄹ, or an adnominal "stem"
_ENDINGS_AFTER_L = (
    (re.compile("(?<=을)(?:게|걸|지|거|건|까)(?=$|[요라도는를가야예에만언])"), "any"),
    (re.compile("(?:게|걸)(?=요$|요,)|(?:수록)|(?:세라|지라도|지언정|진대|밖에)$"), "stem"),
    (re.compile("(?:거|것|게|걸|지|수)(?=$|야|예요|에요|요|다|도|는|를|라|있|없)"), "stem"),
)
# Endings that become tense, and the tails after which they do
_ENDINGS_AFTER_TAILS = (
    (re.compile("게(?=요$)"), "ㄹ"),
    (re.compile("수(?=록)"), "ㄹ"),
    (re.compile("습(?=니)"), "ㄴㅁ"),
)
# Stems that themselves end in ㄹ: after them an ending stays plain (알지 al-ji, "you know")
_STEMS_IN_L = frozenset("알놀울길멀달들걸팔풀밀열불물빌돌졸털틀헐떨널덜말들굴날늘")

_NUMERALS = re.compile("[십백천만](?=육)")  # art. 29: 십육 sip-yuk [sim-nyuk], "sixteen"
# Art. 29 across a space: words that get an inserted n, and words after which they get it
_Y_NOUNS = re.compile(
    "^(?:일(?!찍|어|본|단|부|반|등|요|월|러|렬|행|으)|이유|이야기|이불|이름|여자|여름|여행|영화|"
    "영어(?!로)|역(?!시)|연습|요리|요일|약(?!간)|양말|얘기|여섯|여덟|엿|윷|잎|입(?!니|학|구)|연필|연구|"
    "유학|육)"
)
_Y_VERBS = re.compile(
    "^(?:입|읽|잊|익|이기|이길|이긴|이겨|이루|열[다고지어린]|여는|연(?=$)|일하|일해|이해|일어)"
)
_BEFORE_Y_VERBS = frozenset(
    ("못", "안", "잘", "옷", "책", "꼭", "늘", "문", "글", "맛", "밥", "창문")
)
_BEFORE_Y_NOUNS = re.compile(
    "(?:^(?:한|할|무슨|어떤|그런|이런|저런|다른|첫|몇|새로운|모든|온|별|큰|작은|볼|할|갈|옛|맨|긴|겨울|봄|한국|외국|"
    "서른|스물|마흔|쉰|예순|일흔|여든|아흔|열|해외|국내|가을|신혼|배낭|수학)|[한할된될던운])$"
)


_I_OR_Y = "ㅣㅑㅕㅛㅠㅖㅒ"  # the vowels i, ya, yeo, yo, yu, ye, yae


@functools.cache
def marked_words() -> dict[str, str]:
    """Return the list in `korean_words.txt`: beginning of a word → the same, marked or respelled.

    Raises:
        UserError: an entry is repeated, or its two sides differ in length.

    >>> marked_words()["꽃잎"], marked_words()["디귿"]
    ('꽃~잎', '디긋')
    """
    entries: dict[str, str] = {}
    for number, line in enumerate(WORDS.read_text(encoding="utf-8").splitlines(), 1):
        for entry in [] if line.startswith("#") else line.split():
            marked_spelling, _, respelling = entry.partition("=")
            key = marked_spelling.translate(_WITHOUT_MARKS)
            value = respelling or marked_spelling
            if key in entries:
                raise UserError(f"{WORDS}:{number}: '{key}' is listed twice", "keep one entry")
            same_length = len(value.translate(_WITHOUT_MARKS)) == len(key)
            if not same_length or not all(map(hangul.is_syllable, key)):
                raise UserError(
                    f"{WORDS}:{number}: '{entry}' is not a word and its pronunciation",
                    "write the same number of syllables on both sides of '='",
                )
            entries[key] = value
    return entries


_WITHOUT_MARKS = {ord(mark): None for mark in _MARKS}


@functools.cache
def sino_korean_pairs() -> frozenset[str]:
    """Return the syllable pairs in `korean_sino.txt`, in which the second lead is tense."""
    lines = SINO.read_text(encoding="utf-8").splitlines()
    return frozenset(pair for line in lines if not line.startswith("#") for pair in line.split())


def mark_syllables(word: str) -> list[Syllable]:
    """Return the syllables of a word, with the marks of the word lists and patterns."""
    syllables = _look_up(word)
    if len(syllables) > 1:
        _mark_stem(word, syllables)
        _mark_endings(word, syllables)
        _mark_saisiot(syllables)
        _mark_sino(word, syllables)
        for match in _NUMERALS.finditer(word):
            _mark(syllables, match.start(), "~")
    for number, syllable in enumerate(syllables):
        if syllable.spelled in CLUSTER_NOUNS:
            # 삶 salm is the noun "life", or with an ending the verb "to boil"
            has_ending = re.match("[다고지게는던습겠기]", word[number + 1 :])
            syllable.cluster_noun = not (syllable.spelled == "삶" and has_ending)
    return syllables


def _look_up(word: str) -> list[Syllable]:
    """Return the syllables of a word, with the marks of the longest entry that it begins with."""
    entries = marked_words()
    marked, length = "", 0
    for size in range(min(len(word), _longest_entry()), 1, -1):
        if word[:size] in entries:
            marked, length = entries[word[:size]], size
            break
    syllables: list[Syllable] = []
    for char in marked:
        if char in _MARKS:
            syllables[-1].mark = char
        else:
            syllables.append(Syllable(*hangul.split(char), char))
    return syllables + [Syllable(*hangul.split(char), char) for char in word[length:]]


@functools.cache
def _longest_entry() -> int:
    return max(map(len, marked_words()))


def _mark_stem(word: str, syllables: list[Syllable]) -> None:
    """Mark the boundary between a verb stem and its ending (art. 24)."""
    match = _STEM.match(word)
    if match and not _NOT_STEMS.match(word):
        _mark(syllables, match.end("stem") - 1, "'")
    elif _NOMINAL.match(word):
        _mark(syllables, word.index("기") - 1, "'")


def _mark_endings(word: str, syllables: list[Syllable]) -> None:
    """Mark endings that begin with a tense lead (arts. 24, 27)."""
    for ending, tails in _ENDINGS_AFTER_TAILS:
        for match in ending.finditer(word):
            tail = syllables[match.start() - 1].tail if match.start() else ""
            if tail and tail in tails:
                _mark(syllables, match.start() - 1, "'")
    for ending, required in _ENDINGS_AFTER_L:
        for match in ending.finditer(word):
            before = word[match.start() - 1] if match.start() else ""
            if not before or syllables[match.start() - 1].tail != "ㄹ":
                continue
            is_stem = before in _ADNOMINAL and before not in "살질줄" and before not in _STEMS_IN_L
            if required == "any" or is_stem:
                _mark(syllables, match.start() - 1, "'")


def _mark_saisiot(syllables: list[Syllable]) -> None:
    """Mark saisiot (art. 30). Before a vowel it is marked as the start of a word."""
    for left, right in zip(syllables, syllables[1:], strict=False):
        if left.spelled not in _SAISIOT or left.mark or left.tail != "ㅅ":
            continue
        if left.spelled + right.spelled in _NO_SAISIOT:
            continue
        if right.lead in TENSE:
            left.mark = "-"
        elif right.lead == "ㅇ":
            left.mark = "~" if right.vowel in _I_OR_Y else "|"


def _mark_sino(word: str, syllables: list[Syllable]) -> None:
    """Mark listed Sino-Korean pairs (art. 26).

    A pair counts at the start of a word, at its third syllable, in a numeral, or at the end of a
    noun of three syllables.
    """
    pairs = sino_korean_pairs()
    for number in range(len(word) - 1):
        if syllables[number].tail != "ㄹ" or syllables[number].mark:
            continue
        if word[number : number + 2] not in pairs:
            continue
        is_numeral = word[number : number + 2] in ("칠십", "팔십")
        ends_noun = (
            number == 1 and word[2] not in "도서지자든조대다들" and _AFTER_NOUN.fullmatch(word[3:])
        )
        if number in (0, 2) or is_numeral or ends_noun:
            _mark(syllables, number, "'")


def _mark(syllables: list[Syllable], number: int, mark: str) -> None:
    """Set the mark after syllable `number`, unless it already has one."""
    if not syllables[number].mark:
        syllables[number].mark = mark


def mark_word_boundary(left: str, right: str) -> str:
    """Return the mark between two words that are spoken without a pause.

    >>> mark_word_boundary("할", "것을"), mark_word_boundary("한", "일")
    ("'", '~')
    >>> mark_word_boundary("책을", "읽는다")
    '.'
    """
    tail = hangul.split(left[-1])[2]
    lead, vowel, _ = hangul.split(right[0])
    if tail == "ㄹ" and lead in TENSE and _is_adnominal(left) and _AFTER_ADNOMINAL.match(right):
        return "'"
    if left in ("열", "여덟") and lead in TENSE and len(right) <= 3:
        return "'"
    if tail and lead == "ㅇ" and vowel in _I_OR_Y:
        if left in _BEFORE_Y_VERBS and _Y_VERBS.match(right):
            return "~"
        if _Y_NOUNS.match(right) and (
            _BEFORE_Y_NOUNS.search(left) or (left[-1] in "은을는" and left[-2:-1] in _CLOSED_STEMS)
        ):
            return "~"
    if _RI.match(right) and _BEFORE_RI.search(left):
        return ""  # 십 리 sip ri [sim-ni], "ten ri": one word
    return " " if len(left) == 1 else "."


def _is_adnominal(word: str) -> bool:
    """Return whether a word that ends in ㄹ looks like an adnominal verb form in -(으)ㄹ."""
    if word[-1] == "을":
        return word[-2:-1] in _CLOSED_STEMS and len(word) > 1
    if len(word) == 1:
        return word not in _SHORT_NOUNS_IN_L
    return not word.endswith(_NOUNS_IN_L) or word.endswith(("만들", "떠들", "흔들"))


def is_verb_in_context(previous_word: str, word: str, next_word: str) -> bool:
    """Return whether a word of NOUN_OR_VERB is a verb, judged by its neighbours.

    A neighbour is "" at the edge of the phrase.

    >>> is_verb_in_context("신을", "신고", ""), is_verb_in_context("혼인", "신고", "")
    (True, False)
    """
    if word == "안다":
        return bool(_EMBRACE.match(previous_word)) if previous_word else not next_word
    if word.endswith("지"):
        return next_word.startswith(("않", "안", "말", "마", "못"))
    if not previous_word:
        return word == "신고"  # the example of art. 24
    follows_object = previous_word[-1] in "을를"
    return follows_object or word == "참고" or previous_word in ("신", "구두", "양말", "신발")
