"""Whisper's decoder as the head of an output, compared with transformers."""

import contextlib
import shutil
import sys
from pathlib import Path

import pytest
import torch
from torch.testing import assert_close

from espnet_ext.decoding.options import SearchOptions
from espnet_ext.decoding.search import build_searcher
from espnet_ext.errors import UserError
from espnet_ext.files import read_yaml
from espnet_ext.model.build import build_model
from espnet_ext.model.layers import decoder_layers
from espnet_ext.text.tokenizers import HuggingFaceTokenizer
from espnet_ext.training.config import use_checkpoint

transformers = pytest.importorskip("transformers")
sys.path.insert(0, str(Path(__file__).parents[1]))
import tiny_recipe  # noqa: E402
import tiny_whisper  # noqa: E402

CONF = Path(__file__).parents[2] / "conf"
WHISPER_CONFIGURATIONS = sorted(path.name for path in CONF.glob("train_whisper_*.yaml"))
PROMPT = ["<|startoftranscript|>", "<|en|>", "<|transcribe|>", "<|notimestamps|>"]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A folder with a tiny Whisper, its network and its tokenizer."""
    folder = tmp_path_factory.mktemp("whisper")
    network = tiny_whisper.write(folder)
    return folder, network, HuggingFaceTokenizer(folder / "tokenizer.json")


def configuration(folder, tokens, decoder=(), window="utterance", **more):
    model = {"model": str(folder)}
    return {
        "frontend": "pretrained",
        "frontend_conf": {**model, "window": window},
        "encoder": "pretrained",
        "encoder_conf": model,
        "decoder": "pretrained",
        "decoder_conf": {**model, "language": "en", **dict(decoder)},
        "outputs": {
            "meaning": {
                "branch": "attention",
                "attention_weight": 1.0,
                "token_type": "hugging_face",
                "token_list": list(tokens),
            }
        },
        **more,
    }


def bytes_to_unicode():
    """Return byte → its name in a byte-level vocabulary (Radford et al., GPT-2, 2019)."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    names = {byte: chr(byte) for byte in printable}
    others = [byte for byte in range(256) if byte not in names]
    return names | {byte: chr(256 + number) for number, byte in enumerate(others)}


def ids_of(tokenizer, tokens):
    return [tokenizer.tokenizer.token_to_id(token) for token in tokens]


def speech():
    return 0.1 * torch.randn(2, 16000, generator=torch.Generator().manual_seed(1))


def features(folder):
    reader = transformers.WhisperFeatureExtractor.from_pretrained(folder)
    waves = [row.numpy() for row in speech()]
    return reader(waves, sampling_rate=16000, return_tensors="pt").input_features


def test_logits_equal_those_of_transformers(checkpoint):
    folder, network, tokenizer = checkpoint
    tokens = tokenizer.token_list(tiny_whisper.TEXTS)
    model = build_model(configuration(folder, tokens, window="30s")).eval()
    texts = [tokenizer.encode(text) for text in ("the cat", "dog")]
    lengths = torch.tensor([len(text) for text in texts])
    ids = torch.full((2, int(lengths.max())), -1)
    for row, text in enumerate(texts):
        ids[row, : len(text)] = torch.tensor([tokens.index(token) for token in text])
    with torch.no_grad():
        states, frames = model.encode(speech(), torch.tensor([16000, 16000])).shared()
        logits, _ = model.heads["meaning"].teacher_forced(states, frames, ids, lengths)
        encoded = network.model.encoder(features(folder)).last_hidden_state
        assert_close(states, encoded, rtol=0, atol=1e-5)
        columns = ids_of(tokenizer, tokens[2:-1] + ["<|endoftext|>"])
        for row, text in enumerate(texts):
            inputs = torch.tensor([ids_of(tokenizer, PROMPT + text)])
            expected = network(
                encoder_outputs=(encoded[row : row + 1],), decoder_input_ids=inputs
            ).logits[0, len(PROMPT) - 1 :, columns]
            actual = logits[row, : len(text) + 1, 2:]
            assert_close(actual, expected, rtol=1e-4, atol=1e-5)


class OurVocabulary(transformers.LogitsProcessor):
    """Restrict transformers' log probabilities (N, V') to our tokens, and normalise them again.

    Blank and unk have the mean of all embeddings, so their logits are the mean of all logits.
    """

    def __init__(self, columns, end):
        self.columns, self.end = columns, end

    def __call__(self, input_ids, scores):
        extra = scores[:, : self.end].mean(-1, keepdim=True)
        total = torch.cat([scores[:, self.columns], extra, extra], -1).logsumexp(-1, keepdim=True)
        restricted = torch.full_like(scores, -torch.inf)
        restricted[:, self.columns] = scores[:, self.columns] - total
        return restricted


@pytest.mark.parametrize("beam_size", [1, 2, 5])
@pytest.mark.parametrize("normalize_length", [False, True])
def test_search_finds_the_tokens_of_transformers(checkpoint, beam_size, normalize_length):
    folder, network, tokenizer = checkpoint
    tokens = tokenizer.token_list(tiny_whisper.TEXTS)
    model = build_model(configuration(folder, tokens, window="30s")).eval()
    options = SearchOptions(
        beam_size=beam_size,
        normalize_length=normalize_length,
        maxlenratio=-20,
        end_detect=False,
    )
    with torch.no_grad():
        states, frames = model.encode(speech(), torch.tensor([16000, 16000])).shared()
        nbest_lists = build_searcher(model.heads["meaning"], options)(states, frames)
        end = tokenizer.tokenizer.token_to_id("<|endoftext|>")
        columns = [*ids_of(tokenizer, tokens[2:-1]), end]
        generated = network.generate(
            features(folder),
            decoder_input_ids=torch.tensor([ids_of(tokenizer, PROMPT)] * 2),
            num_beams=beam_size,
            do_sample=False,
            length_penalty=float(normalize_length),
            early_stopping="never",
            max_new_tokens=20,
            logits_processor=[OurVocabulary(columns, end)],
        )
    for hypotheses, row in zip(nbest_lists, generated.tolist(), strict=True):
        row = row[len(PROMPT) :] if row[: len(PROMPT)] == ids_of(tokenizer, PROMPT) else row
        expected = row[: row.index(end)] if end in row else row
        actual = ids_of(tokenizer, [tokens[i] for i in hypotheses[0].token_ids])
        assert actual == expected


def test_other_tokens_take_the_embeddings_of_their_text(checkpoint):
    folder, network, tokenizer = checkpoint
    tokens = ["<blank>", "<unk>", "a", "<space>", "cat", "<sos/eos>"]
    model = build_model(configuration(folder, tokens))
    weights = network.model.decoder.embed_tokens.weight
    rows = model.meaning_decoder.embed[0].weight
    for token, pieces in (
        ("a", ["a"]),
        ("<space>", ["Ġ"]),
        ("cat", tokenizer.tokenizer.encode("cat").tokens),
        ("<sos/eos>", ["<|endoftext|>"]),
    ):
        expected = weights[ids_of(tokenizer, pieces)].mean(0)
        assert_close(rows[tokens.index(token)], expected)
    assert_close(model.meaning_decoder.prompt, weights[ids_of(tokenizer, PROMPT)])
    assert model.meaning_decoder.output_layer.weight is rows


@pytest.mark.parametrize("token_type", ["char", "jamo"])
def test_characters_take_the_embeddings_of_their_bytes(checkpoint, token_type):
    """The vocabulary also has é and Ġ, as names of the bytes 0xE9 and 0x20."""
    folder, network, tokenizer = checkpoint
    letters = ["é", "Ġ", "<", "가", "\u1100", "a"]
    tokens = ["<blank>", "<unk>", *letters, "<sos/eos>"]
    conf = configuration(folder, tokens, {"language": "ko"})
    conf["outputs"]["meaning"]["token_type"] = token_type
    rows = build_model(conf).meaning_decoder.embed[0].weight
    weights = network.model.decoder.embed_tokens.weight
    for letter in letters:
        names = bytes_to_unicode()
        pieces = [names[byte] for byte in letter.encode()]
        expected = weights[ids_of(tokenizer, pieces)].mean(0)
        assert_close(rows[tokens.index(letter)], expected)


def test_every_parameter_learns(checkpoint):
    folder, _, tokenizer = checkpoint
    model = build_model(configuration(folder, tokenizer.token_list(tiny_whisper.TEXTS))).train()
    text = torch.tensor([[5, 6], [7, -1]])
    loss, _, _ = model(
        speech(),
        torch.tensor([16000, 9000]),
        text_meaning=text,
        text_meaning_lengths=torch.tensor([2, 1]),
    )
    loss.backward()
    for name, parameter in model.named_parameters():
        if "embed_positions" not in name:
            assert parameter.grad is not None, name
    assert list(decoder_layers(model.meaning_decoder)) == ["0", "1"]


@pytest.mark.parametrize("name", WHISPER_CONFIGURATIONS)
def test_shipped_configuration_trains_the_unchanged_whisper(checkpoint, name):
    """Dropout, which Whisper was pre-trained without, would raise the loss in train mode."""
    folder, _, tokenizer = checkpoint
    config = use_checkpoint(read_yaml(CONF / name), str(folder))
    meaning = configuration(folder, tokenizer.token_list(tiny_whisper.TEXTS))["outputs"]["meaning"]
    model = build_model(
        {
            **config,
            "decoder_conf": {**config["decoder_conf"], "language": "en"},
            "specaug": None,
            "cpu_autocast": None,
            "outputs": {"meaning": meaning},
        }
    )
    text = torch.tensor([[5, 6, 7], [8, 9, -1]])
    batch = {"text_meaning": text, "text_meaning_lengths": torch.tensor([3, 2])}
    losses = [
        model.train(mode)(speech(), torch.tensor([16000, 9000]), **batch)[0]
        for mode in (False, True)
    ]
    assert_close(losses[1], losses[0], rtol=1e-6, atol=0)
    assert losses[0] > 0


def test_scaled_embeddings_keep_pretrained_ones(checkpoint):
    folder, _, tokenizer = checkpoint
    plain = build_model(configuration(folder, tokenizer.token_list(tiny_whisper.TEXTS)))
    conf = configuration(
        folder, tokenizer.token_list(tiny_whisper.TEXTS), model_conf={"scale_embeddings": True}
    )
    scaled = build_model(conf)
    assert torch.equal(
        scaled.meaning_decoder.embed[0].weight, plain.meaning_decoder.embed[0].weight
    )


def test_longest_transcript_has_as_many_tokens_as_positions(checkpoint):
    folder, _, tokenizer = checkpoint
    model = build_model(configuration(folder, tokenizer.token_list(tiny_whisper.TEXTS)))
    longest = model.meaning_decoder.max_tokens
    assert longest == 40 - len(PROMPT)
    states, frames = torch.zeros(1, 5, 16), torch.tensor([5])
    for tokens in (longest, longest + 1):
        text = torch.full((1, tokens), 3)
        expected = (
            pytest.raises(UserError, match="positions for 40")
            if tokens > longest
            else contextlib.nullcontext()
        )
        with expected:
            model.heads["meaning"].teacher_forced(states, frames, text, torch.tensor([tokens]))


def test_hypotheses_end_at_the_last_position(checkpoint):
    folder, _, _ = checkpoint
    tokens = ["<blank>", "<unk>", "a", "b", "<sos/eos>"]
    model = build_model(configuration(folder, tokens)).eval()
    with torch.no_grad():  # eos is never best
        model.meaning_decoder.output_layer.weight[-1] = 0
        model.meaning_decoder.after_norm.bias.copy_(
            10 * model.meaning_decoder.output_layer.weight[2]
        )
        states, frames = model.encode(speech(), torch.tensor([16000, 16000])).shared()
        options = SearchOptions(beam_size=2, maxlenratio=-100)
        hypotheses = build_searcher(model.heads["meaning"], options)(states, frames)
    assert len(hypotheses[0][0].token_ids) <= 40 - len(PROMPT) + 1


@pytest.mark.parametrize(
    ("decoder", "more", "message"),
    [
        ({"language": "xx"}, {}, r"the tokenizer has no <\|xx\|>"),
        ({"task": "summarise"}, {}, "decoder_conf.task: 'summarise'"),
        ({"languag": "en"}, {}, "unknown key 'languag'"),
        ({}, {"init": "xavier_uniform"}, "would replace the pre-trained weights"),
    ],
)
def test_invalid_configuration_is_refused(checkpoint, decoder, more, message):
    folder, _, tokenizer = checkpoint
    with pytest.raises(UserError, match=message):
        build_model(
            configuration(folder, tokenizer.token_list(tiny_whisper.TEXTS), decoder, **more)
        )


def test_missing_tokenizer_is_refused(checkpoint, tmp_path):
    tiny_whisper.write(tmp_path)
    (tmp_path / "tokenizer.json").unlink()
    with pytest.raises(UserError, match=r"no tokenizer\.json"):
        build_model(configuration(tmp_path, checkpoint[2].token_list(tiny_whisper.TEXTS)))


def test_encoder_of_another_size_is_refused(checkpoint, tmp_path):
    folder, _, tokenizer = checkpoint
    tiny_whisper.write(tmp_path, d_model=8, encoder_ffn_dim=8, decoder_ffn_dim=8)
    conf = configuration(folder, tokenizer.token_list(tiny_whisper.TEXTS), {"model": str(tmp_path)})
    with pytest.raises(UserError, match="reads encoder output of size 8, but gets 16"):
        build_model(conf)


def test_both_outputs_train_and_decode_without_the_checkpoint(checkpoint, tmp_path):
    """The meaning has Whisper's tokens, the surface phones; stages 5 and 11, and decoding."""
    from espnet_ext.bin import tokens
    from espnet_ext.decoding.api import DualSpeech2Text

    folder = shutil.copytree(checkpoint[0], tmp_path / "whisper")
    recipe = tiny_recipe.make(tmp_path / "recipe")
    recipe.token_types["meaning"] = "hugging_face"
    assert (
        tokens.main(
            [
                *("--input", str(recipe.root / "dump/train"), "--output_name", "meaning"),
                *("--token_type", "hugging_face", "--pretrained", str(folder)),
                *("--token_dir", str(recipe.root / "tokens/meaning_hugging_face")),
            ]
        )
        == 0
    )
    recipe.collect()
    languages = recipe.root / "dump/train/utt2lang"
    ids = [line.split()[0] for line in (recipe.root / "dump/train/utt2spk").open()]
    languages.write_text(
        "".join(f"{utt_id} {'ko' if n else 'en'}\n" for n, utt_id in enumerate(ids))
    )
    config = {
        "frontend": "pretrained",
        "normalize": None,
        "frontend_conf": {"model": str(folder)},
        "encoder": "pretrained",
        "encoder_conf": {"model": str(folder)},
        "decoder": "pretrained",
        "decoder_conf": {"model": str(folder)},
        "finetune_conf": {"encoder_lr": 0.5, "decoder_lr": 0.2},
    }
    with pytest.raises(UserError, match="needs one language, but the training set has en, ko"):
        recipe.train(config=config)
    languages.write_text("".join(f"{utt_id} en\n" for utt_id in ids))
    shapes = recipe.root / "stats/valid/speech_shape"
    before = shapes.read_text()
    utterance = before.split()[0]
    shapes.write_text(before.replace(f"{utterance} 8000", f"{utterance} 496000"))
    with pytest.raises(UserError) as caught:
        recipe.train(config=config)
    assert "valid/wav.scp: 1 utterance is longer than the 30 s" in caught.value.message
    assert f"{utterance} (31 s)" in caught.value.message
    assert "--max_wav_duration 30" in caught.value.remedy
    shapes.write_text(before)
    recipe.train(config=config, options=["--max_epoch", "1"])
    shutil.rmtree(folder)
    recognise = DualSpeech2Text.from_pretrained(recipe.root / "exp", beam_size=2)
    assert recognise.model.heads["meaning"].options.decoder_conf["language"] == "en"
    waves = [0.1 * torch.randn(8000), 0.1 * torch.randn(5000)]
    together = recognise.batch(waves)
    for wave, result in zip(waves, together, strict=True):
        alone = recognise(wave)
        for name in ("surface", "meaning"):
            assert alone.best[name].token_ids == result.best[name].token_ids
            assert alone.best[name].score == pytest.approx(result.best[name].score, abs=1e-3)
