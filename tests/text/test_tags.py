"""Inline tags are one token for every tokenizer and can be split from the text."""

import pytest

from espnet_ext.text.tags import make_tag, split_tags
from espnet_ext.text.tokenizers import (
    SentencePieceTokenizer,
    build_tokenizer,
    token_list,
    train_sentencepiece,
)

TAGS = [make_tag("l1", "Hindi"), make_tag("language", "한국어")]


@pytest.mark.parametrize("kind", ["char", "jamo", "word", "phone"])
@pytest.mark.parametrize("tag", TAGS)
def test_tag_is_one_token_and_round_trips(kind, tag):
    tokenizer = build_tokenizer(kind)
    text = f"국물 like {tag}"
    tokens = tokenizer.encode(text)
    assert tokenizer.decode(tokens) == text
    assert sum(token.startswith("<") and token != "<space>" for token in tokens) == 1
    assert tokenizer.encode(text.rpartition(" ")[0]) == tokens[: -2 if "<space>" in tokens else -1]
    assert any(t.startswith("<l") for t in token_list(tokenizer, [text]))


def test_sentencepiece_keeps_tags_whole(tmp_path):
    texts = [f"i like it {TAGS[0]}", "you like it too <l1:Korean>"] * 20
    units = train_sentencepiece(texts, tmp_path / "bpe", 30)
    assert "<l1:Hindi>" in units and "<l1:Korean>" in units
    tokenizer = SentencePieceTokenizer(tmp_path / "bpe.model")
    assert tokenizer.encode(texts[0]).count("<l1:Hindi>") == 1
    assert split_tags(tokenizer.decode(tokenizer.encode(texts[0]))) == (
        "i like it",
        {"l1": "Hindi"},
    )


@pytest.mark.parametrize("text", ["a < b", "<na>", "<unk> x", "a <b c:d>", "<:x>", "5:3 <3"])
def test_similar_text_is_not_a_tag(text):
    assert split_tags(text) == (text, {})
    assert build_tokenizer("char").encode(text) == [
        "<space>" if char == " " else char for char in text
    ]
