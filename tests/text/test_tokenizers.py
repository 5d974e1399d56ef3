"""Tokenizers compared with ESPnet's, round trips, and token list files."""

import tempfile
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from espnet_ext.bin import tokens as command
from espnet_ext.errors import UserError
from espnet_ext.text import tokenizers
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
def test_characters_round_trip(text):
    tokenizer = tokenizers.CharTokenizer()
    assert tokenizer.decode(tokenizer.encode(text)) == text
    assert " " not in tokenizer.encode(text)


@given(st.lists(hangul, max_size=4).map(" ".join))
def test_jamo_round_trip_and_stay_in_the_jamo_block(text):
    tokenizer = tokenizers.JamoTokenizer()
    tokens = tokenizer.encode(text)
    assert tokenizer.decode(tokens) == text
    assert all(token == "<space>" or 0x1100 <= ord(token) <= 0x11FF for token in tokens)


@given(st.lists(st.text("ABHK1", min_size=1), max_size=6))
def test_words_round_trip(words):
    tokenizer = tokenizers.WordTokenizer()
    assert tokenizer.encode(tokenizer.decode(words)) == words


def test_leads_and_tails_are_different_tokens():
    lead, _, tail = tokenizers.JamoTokenizer().encode("각")
    assert lead != tail


@pytest.mark.parametrize("kind", ["char", "word", "phone", "jamo"])
def test_tokens_match_espnet(kind):
    build_espnet_tokenizer = pytest.importorskip("espnet2.text.build_tokenizer").build_tokenizer
    tokenizer = tokenizers.build_tokenizer(kind)
    espnet_tokenizer = build_espnet_tokenizer(tokenizer.espnet_type)
    for sentence in SENTENCES + PHONES:
        espnet_input = unicodedata.normalize("NFD", sentence) if kind == "jamo" else sentence
        tokens = tokenizer.encode(sentence)
        assert tokens == espnet_tokenizer.text2tokens(espnet_input)
        if kind == "jamo":
            back = unicodedata.normalize("NFC", espnet_tokenizer.tokens2text(tokens))
            assert tokenizer.decode(tokens) == back
        else:
            assert tokenizer.decode(tokens) == espnet_tokenizer.tokens2text(tokens)


SYMBOLS = ["<noise>", "[laugh]", "(..)"]


@pytest.mark.parametrize("kind", ["char", "jamo"])
def test_non_linguistic_symbols_are_tokens_as_in_espnet(kind, tmp_path):
    build_espnet_tokenizer = pytest.importorskip("espnet2.text.build_tokenizer").build_tokenizer
    (tmp_path / "nlsyms.txt").write_text("\n".join(SYMBOLS) + "\n\n")
    symbols = tokenizers.read_symbols(tmp_path / "nlsyms.txt")
    texts = ["물<noise> 좀", "[laugh] ah (..) <noise", "(..)(..)", "<l1:Thai>"]
    first = tokenizers.build_tokenizer(kind, token_list=symbols)
    tokens = tokenizers.token_list(first, texts)
    assert set(SYMBOLS) <= set(tokens)
    # Training and decoding know the symbols from the token list alone.
    tokenizer = tokenizers.build_tokenizer(kind, token_list=tokens)
    espnet_tokenizer = build_espnet_tokenizer("char", non_linguistic_symbols=SYMBOLS)
    for text in texts[:3]:
        espnet_input = unicodedata.normalize("NFD", text) if kind == "jamo" else text
        assert tokenizer.encode(text) == espnet_tokenizer.text2tokens(espnet_input)
        assert tokenizer.decode(tokenizer.encode(text)) == text
    assert tokenizer.encode(texts[3]) == ["<l1:Thai>"]


def test_non_linguistic_symbols_are_sentencepiece_units(tmp_path):
    texts = ["the cat<noise> runs", "the dog runs <noise>", "the hen"] * 5
    for mode in ("unigram", "bpe"):
        prefix = tmp_path / mode
        tokens = tokenizers.train_sentencepiece(
            texts, prefix, 30, model_type=mode, symbols=["<noise>"]
        )
        assert "<noise>" in tokens
        tokenizer = tokenizers.build_tokenizer("bpe", f"{prefix}.model")
        assert tokenizer.encode("the cat<noise> runs").count("<noise>") == 1
        assert tokenizer.decode(tokenizer.encode(texts[0])) == texts[0]


@pytest.mark.parametrize("line", ["a", "<unk>", "two words"])
def test_lines_that_cannot_be_symbols_are_errors(tmp_path, line):
    (tmp_path / "nlsyms.txt").write_text(line + "\n")
    with pytest.raises(UserError, match="cannot be a non-linguistic symbol"):
        tokenizers.read_symbols(tmp_path / "nlsyms.txt")
    with pytest.raises(UserError, match="no such file"):
        tokenizers.read_symbols(tmp_path / "none.txt")


@pytest.fixture(scope="module")
def sentencepiece_model(tmp_path_factory):
    prefix = tmp_path_factory.mktemp("bpe") / "bpe"
    texts = [f"the {a} {b} runs" for a in ("small", "large", "red") for b in ("cat", "dog", "hen")]
    return prefix, tokenizers.train_sentencepiece(texts, prefix, 30), texts


def test_too_few_sentencepiece_units_name_the_least_number(tmp_path):
    texts = ["abcdefghij", "klmnop"]
    with pytest.raises(UserError, match="10 SentencePiece units are fewer") as caught:
        tokenizers.train_sentencepiece(texts, tmp_path / "bpe", 10)
    least = int(caught.value.remedy.split()[-1])
    assert len(tokenizers.train_sentencepiece(texts, tmp_path / "bpe", least)) >= least


def test_sentencepiece_units_match_espnet(sentencepiece_model):
    build_espnet_tokenizer = pytest.importorskip("espnet2.text.build_tokenizer").build_tokenizer
    prefix, tokens, texts = sentencepiece_model
    tokenizer = tokenizers.build_tokenizer("bpe", f"{prefix}.model")
    espnet_tokenizer = build_espnet_tokenizer("bpe", bpemodel=f"{prefix}.model")
    for text in texts:
        encoded = tokenizer.encode(text)
        assert encoded == espnet_tokenizer.text2tokens(text)
        assert set(encoded) <= set(tokens)
        assert tokenizer.decode(encoded) == espnet_tokenizer.tokens2text(encoded) == text


# Texts that NFKC, SentencePiece's default, would change
LEARNERS = [
    "ㄱㅏ 나라",
    "ㅋㅋ ㅏㅏ",
    "가 ㅎㅐ",
    "cafe\u0301 ½ ²",
    "① ﬁsh ｶﾞ",
    "Ⅷ ㈎ ㎏",
    "a\u00adb e\u200dx",
]


@pytest.mark.parametrize("model_type", ["unigram", "bpe"])
def test_sentencepiece_does_not_normalise(model_type, tmp_path):
    """Lone letters of learners stay, and every character of the texts is a token."""
    texts = [normalize(text) for text in LEARNERS]
    long_text = " ".join(["긴 문장"] * 800 + ["궯"])  # longer than SentencePiece reads by default
    trained = [*texts * 20, long_text]
    tokens = tokenizers.train_sentencepiece(trained, tmp_path / "bpe", 80, model_type=model_type)
    tokenizer = tokenizers.build_tokenizer("bpe", tmp_path / "bpe.model")
    for text in trained:
        encoded = tokenizer.encode(text)
        assert set(encoded) <= set(tokens)
        assert tokenizer.decode(encoded) == text
    assert not tokenizers.lossy_texts(tokenizer, tokens, dict(enumerate(trained)))
    assert {"ㅏ", "①", "궯"} <= set("".join(tokens))


@given(st.lists(anything.filter(bool), min_size=1, max_size=3))
@settings(max_examples=8, deadline=None)
def test_sentencepiece_round_trip(texts):
    """Only the character ▁, by which SentencePiece means a space, is lost."""
    with tempfile.TemporaryDirectory() as folder:
        tokens = tokenizers.train_sentencepiece(
            [*texts, "a b c"] * 5, f"{folder}/bpe", 400, model_type="bpe"
        )
        tokenizer = tokenizers.build_tokenizer("bpe", f"{folder}/bpe.model")
        lossy = tokenizers.lossy_texts(tokenizer, tokens, dict(enumerate(texts)))
        assert [item.utt_id for item in lossy] == [i for i, t in enumerate(texts) if "▁" in t]


def test_model_that_normalises_is_read_and_its_losses_are_found(tmp_path):
    sentencepiece = pytest.importorskip("sentencepiece")
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["가 나 ab"] * 20),
        model_prefix=str(tmp_path / "bpe"),
        vocab_size=10,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    tokenizer = tokenizers.build_tokenizer("bpe", tmp_path / "bpe.model")
    assert tokenizer.decode(tokenizer.encode("가 ab")) == "가 ab"
    tokens = [
        tokenizer.processor.id_to_piece(i) for i in range(tokenizer.processor.get_piece_size())
    ]
    (item,) = tokenizers.lossy_texts(tokenizer, tokens, {"u1": "ㄱㅏ 나", "u2": "나 ab"})
    assert (item.utt_id, item.decoded, item.characters) == ("u1", "가 나", "ㄱㅏ")


def test_stage_5_names_texts_that_cannot_be_decoded(tmp_path, capsys):
    (tmp_path / "data").mkdir()
    rows = {"u1": "ㄱㅏ 나", "u2": "나 ▁ 가", "u3": "나▁"}
    (tmp_path / "data/text.surface").write_text("".join(f"{i} {t}\n" for i, t in rows.items()))
    options = ["--input", str(tmp_path / "data"), "--output_name", "surface", "--vocab_size", "20"]
    for kind in ("bpe", "char", "jamo", "word"):
        folder = str(tmp_path / kind)
        assert command.main([*options, "--token_type", kind, "--token_dir", folder]) == 0
        printed, output = capsys.readouterr()
        assert ("--vocab_size 20: the transcripts have no more pieces" in printed) == (
            kind == "bpe"
        )
        if kind != "bpe":
            assert output == ""
            continue
        source = tmp_path / "data/text.surface"
        assert f"warning: {source}: u2: its tokens are decoded to '나 " in output
        assert "u3" in output and "u1" not in output and "'▁' (U+2581 LOWER ONE EIGHTH " in output
        assert "2 of 3 transcripts cannot be encoded and decoded; remedy: remove" in output


def test_sentencepiece_tokenizer_can_be_pickled(sentencepiece_model):
    import pickle

    prefix, _, texts = sentencepiece_model
    tokenizer = tokenizers.build_tokenizer("bpe", f"{prefix}.model")
    assert pickle.loads(pickle.dumps(tokenizer)).encode(texts[0]) == tokenizer.encode(texts[0])


def test_token_list_has_espnets_order(sentencepiece_model):
    tokens = tokenizers.token_list(tokenizers.CharTokenizer(), ["ab b", "cb", ""])
    assert tokens == ["<blank>", "<unk>", "b", "<space>", "a", "c", "<sos/eos>"]
    assert tokenizers.token_list(tokenizers.WordTokenizer(), ["<unk> K <blank>"])[2:-1] == ["K"]
    _, listed, _ = sentencepiece_model
    assert (listed[0], listed[1], listed[-1]) == ("<blank>", "<unk>", "<sos/eos>")
    assert len(set(listed)) == len(listed)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("<blank>\n<unk>\na\n", "end with"),
        ("a\n<unk>\nb\n<sos/eos>\n", "begin with"),
        ("<blank>\na\nb\n<sos/eos>\n", "<unk>"),
        ("<blank>\n<unk>\na\na\n<sos/eos>\n", "'a' is listed twice"),
        ("", "not a token list"),
        (b"<blank>\n<unk>\n\xff\n<sos/eos>\n", "UTF-8"),
    ],
)
def test_invalid_token_list_raises_user_error(tmp_path, content, message):
    path = tmp_path / "tokens.txt"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UserError, match="tokens.txt") as caught:
        tokenizers.read_token_list(path)
    assert message in caught.value.message
    assert "stage 5" in caught.value.remedy


@given(st.lists(st.text("abc물", min_size=1, max_size=5), min_size=1, max_size=5))
def test_token_list_round_trips_through_its_file(texts):
    import tempfile
    from pathlib import Path

    tokens = tokenizers.token_list(tokenizers.CharTokenizer(), texts)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tokens.txt"
        path.write_text("\n".join(tokens) + "\n", encoding="utf-8")
        assert tokenizers.read_token_list(path) == tokens


def test_unknown_type_and_missing_files_raise_user_error(tmp_path):
    with pytest.raises(UserError, match="unknown token type 'chr'"):
        tokenizers.build_tokenizer("chr")
    with pytest.raises(UserError, match="bpemodel"):
        tokenizers.build_tokenizer("bpe")
    with pytest.raises(UserError, match="no such SentencePiece model"):
        tokenizers.build_tokenizer("bpe", tmp_path / "no.model")
    for content in (b"", b"no model", b"\x00" * 1000):
        (tmp_path / "other.model").write_bytes(content)
        with pytest.raises(UserError, match="other.model: not a SentencePiece model"):
            tokenizers.build_tokenizer("bpe", tmp_path / "other.model")
    with pytest.raises(UserError, match="no such token list"):
        tokenizers.read_token_list(tmp_path / "tokens.txt")


def test_sentencepiece_training_failure_raises_user_error(tmp_path):
    with pytest.raises(UserError, match="SentencePiece"):
        tokenizers.train_sentencepiece([], tmp_path / "bpe", 30)
