"""Tokenizers against their stock twins, round trips, and the files they come with."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from espnet_ext.errors import UserError
from espnet_ext.text import tokenizers as ours
from espnet_ext.text.unicode import normalize

SENTENCES = [
    "국물 좀 더 주세요",
    "ㅋㅋ 값이 얼마예요?",
    "thank you very much",
    "a b  c",
    "café ßtraße",
    "",
]
PHONES = ["TH AE NG K", "K AE T", ""]
hangul = st.text(st.characters(min_codepoint=0xAC00, max_codepoint=0xD7A3), max_size=8)
anything = st.text(st.characters(blacklist_categories=("Cs", "Cc")), max_size=30).map(normalize)


@given(anything)
def test_characters_come_back(text):
    tokenizer = ours.CharTokenizer()
    assert tokenizer.decode(tokenizer.encode(text)) == text
    assert " " not in tokenizer.encode(text)


@given(st.lists(hangul, max_size=4).map(" ".join))
def test_jamo_come_back_and_are_few(text):
    tokenizer = ours.JamoTokenizer()
    tokens = tokenizer.encode(text)
    assert tokenizer.decode(tokens) == text
    assert all(token == "<space>" or 0x1100 <= ord(token) <= 0x11FF for token in tokens)


@given(st.lists(st.text("ABHK1", min_size=1), max_size=6))
def test_words_come_back(words):
    tokenizer = ours.WordTokenizer()
    assert tokenizer.encode(tokenizer.decode(words)) == words


def test_initial_and_final_consonants_differ():
    first, _, last = ours.JamoTokenizer().encode("각")
    assert first != last


@pytest.mark.parametrize("kind", ["char", "word", "phone", "jamo"])
def test_same_tokens_as_stock(kind):
    stock = pytest.importorskip("espnet2.text.build_tokenizer").build_tokenizer
    tokenizer = ours.build_tokenizer(kind)
    twin = stock(tokenizer.espnet_type)
    for sentence in SENTENCES + PHONES:
        given_to_stock = unicodedata.normalize("NFD", sentence) if kind == "jamo" else sentence
        tokens = tokenizer.encode(sentence)
        assert tokens == twin.text2tokens(given_to_stock)
        if kind == "jamo":
            back = unicodedata.normalize("NFC", twin.tokens2text(tokens))
            assert tokenizer.decode(tokens) == back
        else:
            assert tokenizer.decode(tokens) == twin.tokens2text(tokens)


@pytest.fixture(scope="module")
def pieces(tmp_path_factory):
    prefix = tmp_path_factory.mktemp("bpe") / "bpe"
    texts = [f"the {a} {b} runs" for a in ("small", "large", "red") for b in ("cat", "dog", "hen")]
    return prefix, ours.train_sentencepiece(texts, prefix, 30), texts


def test_same_pieces_as_stock(pieces):
    stock = pytest.importorskip("espnet2.text.build_tokenizer").build_tokenizer
    prefix, tokens, texts = pieces
    tokenizer = ours.build_tokenizer("bpe", f"{prefix}.model")
    twin = stock("bpe", bpemodel=f"{prefix}.model")
    for text in texts:
        encoded = tokenizer.encode(text)
        assert encoded == twin.text2tokens(text)
        assert set(encoded) <= set(tokens)
        assert tokenizer.decode(encoded) == twin.tokens2text(encoded) == text


def test_pieces_reach_other_processes(pieces):
    import pickle

    prefix, _, texts = pieces
    tokenizer = ours.build_tokenizer("bpe", f"{prefix}.model")
    assert pickle.loads(pickle.dumps(tokenizer)).encode(texts[0]) == tokenizer.encode(texts[0])


def test_list_is_espnets_order(pieces):
    tokens = ours.token_list(ours.CharTokenizer(), ["ab b", "cb", "<unk>"[:0]])
    assert tokens == ["<blank>", "<unk>", "b", "<space>", "a", "c", "<sos/eos>"]
    assert ours.token_list(ours.WordTokenizer(), ["<unk> K <blank>"])[2:-1] == ["K"]
    _, listed, _ = pieces
    assert (listed[0], listed[1], listed[-1]) == ("<blank>", "<unk>", "<sos/eos>")
    assert len(set(listed)) == len(listed)


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ("<blank>\n<unk>\na\n", "end with"),
        ("a\n<unk>\nb\n<sos/eos>\n", "begin with"),
        ("<blank>\na\nb\n<sos/eos>\n", "<unk>"),
        ("<blank>\n<unk>\na\na\n<sos/eos>\n", "'a' stands there twice"),
        ("", "not a token list"),
        (b"<blank>\n<unk>\n\xff\n<sos/eos>\n", "UTF-8"),
    ],
)
def test_bad_lists_are_refused(tmp_path, content, named):
    path = tmp_path / "tokens.txt"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UserError, match="tokens.txt") as caught:
        ours.read_token_list(path)
    assert named in caught.value.message
    assert "stage 5" in caught.value.remedy


@given(st.lists(st.text("abc물", min_size=1, max_size=5), min_size=1, max_size=5))
def test_list_survives_its_file(texts):
    import tempfile
    from pathlib import Path

    tokens = ours.token_list(ours.CharTokenizer(), texts)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tokens.txt"
        path.write_text("\n".join(tokens) + "\n", encoding="utf-8")
        assert ours.read_token_list(path) == tokens


def test_unknown_types_and_missing_models(tmp_path):
    with pytest.raises(UserError, match="unknown token type 'chr'"):
        ours.build_tokenizer("chr")
    with pytest.raises(UserError, match="bpemodel"):
        ours.build_tokenizer("bpe")
    with pytest.raises(UserError, match="no such SentencePiece model"):
        ours.build_tokenizer("bpe", tmp_path / "no.model")
    with pytest.raises(UserError, match="no such token list"):
        ours.read_token_list(tmp_path / "tokens.txt")


def test_too_many_units_for_the_text(tmp_path):
    with pytest.raises(UserError, match="SentencePiece"):
        ours.train_sentencepiece([], tmp_path / "bpe", 30)
