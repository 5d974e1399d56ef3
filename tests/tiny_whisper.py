"""A tiny random Whisper in Hugging Face's layout, with a byte-level tokenizer."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

SPECIAL = (
    "<|endoftext|>",
    "<|startoftranscript|>",
    "<|en|>",
    "<|ko|>",
    "<|transcribe|>",
    "<|translate|>",
    "<|notimestamps|>",
)
TEXTS = ("a cat", "dog", "caw", "gad", "tack", "coat", "caught", "the cat sat on the mat")


def byte_level_tokenizer(texts: Sequence[str], vocab_size: int, special: Sequence[str]) -> Any:
    """Return a byte-level BPE tokenizer, as that of GPT-2 and Whisper, trained on words."""
    import tokenizers

    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=vocab_size,
        initial_alphabet=sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator([f" {text}" for text in texts], trainer)
    tokenizer.add_special_tokens(list(special))
    return tokenizer


def write(folder: Path, seed: int = 0, **changes):
    """Write the files of a checkpoint, and return its network (WhisperForConditionalGeneration)."""
    import transformers

    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = byte_level_tokenizer(TEXTS, 270, SPECIAL)
    tokenizer.save(str(folder / "tokenizer.json"))
    end, start = (tokenizer.token_to_id(token) for token in SPECIAL[:2])
    settings = {
        "d_model": 16,
        "encoder_layers": 2,
        "decoder_layers": 2,
        "encoder_attention_heads": 2,
        "decoder_attention_heads": 2,
        "encoder_ffn_dim": 24,
        "decoder_ffn_dim": 24,
        "max_target_positions": 40,
        "vocab_size": tokenizer.get_vocab_size(),
        "pad_token_id": end,
        "bos_token_id": end,
        "eos_token_id": end,
        "decoder_start_token_id": start,
    }
    torch.manual_seed(seed)
    config = transformers.WhisperConfig(**settings | changes)
    network = transformers.WhisperForConditionalGeneration(config).eval()
    with torch.no_grad():  # initial weights are so small that all tokens are nearly equal
        for parameter in network.model.decoder.parameters():
            parameter.mul_(4.0)
    network.save_pretrained(folder)
    transformers.WhisperFeatureExtractor().save_pretrained(folder)
    return network
