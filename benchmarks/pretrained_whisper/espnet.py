"""Fine-tuning of Whisper's encoder by stock ESPnet's Whisper encoder and by ours, side by side.

The processes and rounds are those of `benchmarks/train.py`: same utterances, batches, order, head
(CTC), optimizer and learning rate. ESPnet's encoder needs the package `openai-whisper`, which gets
the same weights in OpenAI's format (`openai_checkpoint`). The last release that ESPnet 202611 works
with is 20230918, whose attention is not fused; later ones lack a constant, which is added here.

What differs: ESPnet's encoder attends to the padding of a batch, whose features are those of
silence, and drops the samples after the last whole frame. Ours computes every utterance as if it
were alone. `compare` removes this difference: utterances that are padded with silence to the same
length have the same losses and gradients.

Batches with 30 s per utterance need much memory: 3 GB for two utterances of Whisper base, more than
5.9 GB for six.
"""

import argparse
import sys
import tempfile
from importlib import metadata
from pathlib import Path
from typing import Any
from unittest import mock

from benchmarks.pretrained_whisper.common import SAMPLE_RATE
from benchmarks.train import Setting, take_turns, work

OURS, STOCK = "ours", "stock"
UTTERANCE, THIRTY_SECONDS = "utterance", "30s"  # length of the input
DEFAULT = (("stock", "stock utterance"), ("ours", "ours utterance"))  # variants
COMPARED = 2  # utterances
# Parts of transformers' names of Whisper's parameters → OpenAI's, applied in this order
RENAMED = {
    "encoder.layer_norm": "encoder.ln_post",
    "decoder.layer_norm": "decoder.ln",
    "layers": "blocks",
    "self_attn_layer_norm": "attn_ln",
    "encoder_attn_layer_norm": "cross_attn_ln",
    "final_layer_norm": "mlp_ln",
    "self_attn": "attn",
    "encoder_attn": "cross_attn",
    "q_proj": "query",
    "k_proj": "key",
    "v_proj": "value",
    "out_proj": "out",
    "fc1": "mlp.0",
    "fc2": "mlp.2",
    "embed_positions.weight": "positional_embedding",
    "embed_tokens": "token_embedding",
}


def openai_name(name: str) -> str:
    """Return OpenAI's name of a parameter of transformers' `WhisperModel`.

    >>> openai_name("encoder.layers.0.self_attn.q_proj.weight")
    'encoder.blocks.0.attn.query.weight'
    """
    for part, new in RENAMED.items():
        name = name.replace(part, new)
    return name


def openai_checkpoint(network: Any) -> dict[str, Any]:
    """Return the weights of transformers' `WhisperModel` as a checkpoint that `whisper` loads.

    Raises:
        SystemExit: `whisper` has no such network.
    """
    config = network.config
    size, width = config.d_model, {config.encoder_ffn_dim, config.decoder_ffn_dim}
    if width != {4 * size}:
        raise SystemExit(f"whisper has layers of 4 × {size} = {4 * size} units, not {width}")
    dimensions = {
        "n_mels": config.num_mel_bins,
        "n_audio_ctx": config.max_source_positions,
        "n_audio_state": size,
        "n_audio_head": config.encoder_attention_heads,
        "n_audio_layer": config.encoder_layers,
        "n_vocab": config.vocab_size,
        "n_text_ctx": config.max_target_positions,
        "n_text_state": size,
        "n_text_head": config.decoder_attention_heads,
        "n_text_layer": config.decoder_layers,
    }
    state = {openai_name(name): value for name, value in network.state_dict().items()}
    return {"dims": dimensions, "model_state_dict": state}


class WhisperSetting(Setting):
    """A CTC layer on Whisper's encoder. The second word of a variant is the length of the input."""

    def __init__(
        self, options: argparse.Namespace, kind: str, window: str, words: list[str], folder: Path
    ):
        if kind not in (OURS, STOCK) or window not in (UTTERANCE, THIRTY_SECONDS):
            raise SystemExit(f"'{kind} {window}': write ours or stock, and utterance or 30s")
        self.pretrained, self.window = options.pretrained, window
        super().__init__(options, kind, window, words, folder)

    def read_config(self, options: argparse.Namespace, system: str) -> dict[str, Any]:
        from espnet_ext.training import run
        from espnet_ext.training.config import merge, use_checkpoint
        from espnet_ext.training.finetune import FineTuning

        config = use_checkpoint(run.merged_config(options.config, []), str(options.pretrained))
        rate = FineTuning.parse(config.pop("finetune_conf", {})).encoder_lr
        # Stock ESPnet has one learning rate: that of the encoder.
        for part, key in (("optim_conf", "lr"), ("scheduler_conf", "max_lr")):
            if value := (config.get(part) or {}).get(key):
                config = merge(config, {part: {key: value * rate}})
        head = {options.output: {"branch": "ctc", "ctc_weight": 1.0}}
        return merge(config, {"outputs": head, "frontend_conf": {"window": self.window}})

    def stock_config(self, config: dict[str, Any], name: str, output: Any) -> dict[str, Any]:
        augmentation = config.get("specaug_conf") or {}
        encoder_conf = {
            "whisper_model": "base",  # the name is not used, see `build_stock`
            "dropout_rate": config["encoder_conf"].get("dropout") or 0.0,
            "use_specaug": config.get("specaug") is not None,
            "specaug_conf": augmentation,
            "do_pad_trim": self.window == THIRTY_SECONDS,
        }
        # ESPnet's encoder computes the features from samples, and masks them.
        samples = {"input_size": 1, "frontend": None, "frontend_conf": {}}
        samples |= {"specaug": None, "specaug_conf": {}}
        encoder = {"encoder": "whisper", "encoder_conf": encoder_conf, "decoder": None}
        return super().stock_config({**config, **samples, **encoder}, name, output)

    def build_stock(
        self, args: Any, config: dict[str, Any], model: Any, data: Any, folder: Path
    ) -> tuple[Any, Any, Any]:
        import torch
        import transformers
        import whisper

        network = transformers.WhisperModel.from_pretrained(self.pretrained, dtype=torch.float32)
        path = folder / "whisper.pt"
        torch.save(openai_checkpoint(network), path)
        del network
        load = whisper.load_model
        with (
            # The original finds its models by name, and downloads them.
            mock.patch.object(whisper, "load_model", lambda *_, **__: load(str(path), "cpu")),
            # ESPnet's encoder imports this constant, which whisper lacks since 20231105.
            mock.patch.object(whisper.audio, "N_MELS", 80, create=True),
        ):
            return super().build_stock(args, config, model, data, folder)


def compare(options: argparse.Namespace) -> dict[str, float]:
    """Compare both models where they compute the same, in float32; print and return differences.

    The input of the encoder is padded with silence to 30 s. For the loss and the gradient,
    utterances are padded to the same length, and both models draw the same masks.
    """
    import torch
    from torch.nn.functional import pad

    words = ["--num_workers", "0"]  # one batch is read
    options = argparse.Namespace(**{**vars(options), "device": "cpu"})
    with tempfile.TemporaryDirectory() as temporary:
        ours, stock = (
            WhisperSetting(options, kind, UTTERANCE, words, Path(temporary) / kind)
            for kind in (OURS, STOCK)
        )
        batch = next(iter(stock.iterators.build_iter(1)))[1]
    batch = {key: value[:COMPARED] for key, value in batch.items()}
    ours.model.autocast_dtype = None
    speech = batch["speech"]

    def padded(size: int) -> dict[str, torch.Tensor]:
        lengths = torch.full((len(speech),), size)
        return {"speech": pad(speech, (0, size - speech.size(1))), "speech_lengths": lengths}

    ours.model.eval(), stock.model.eval()
    with torch.no_grad():
        silent = padded(30 * SAMPLE_RATE)
        states = ours.model.encoder(*ours.model.frontend(*silent.values()))[0]
        outputs = difference(stock.model.encode(*silent.values())[0], states)
    ours.model.train(), stock.model.train()
    # Features of ours read silence after the end of the utterance, those of stock its reflection.
    silent = padded(min(30 * SAMPLE_RATE, (speech.size(1) // 160 + 3) * 160))
    texts = {"text": batch["text"], "text_lengths": batch["text_lengths"]}
    torch.manual_seed(0)
    stock_loss = stock.model(**silent, **texts)[0]
    texts = {key.replace("text", f"text_{options.output}"): value for key, value in texts.items()}
    torch.manual_seed(0)
    our_loss = ours.model(**silent, **texts)[0]
    (stock_loss + our_loss).backward()
    gradients = [
        ours.model.encoder.conv1.weight.grad,
        stock.model.encoder.encoders.conv1.weight.grad,
    ]
    differences = {
        "encoder output, 30 s": outputs,
        "loss": difference(stock_loss.detach(), our_loss.detach()),
        "gradient of the first convolution": difference(*reversed(gradients)),
    }
    print(f"stock against ours with the same input ({len(speech)} utterances, float32):")
    for name, value in differences.items():
        print(f"- {name}: largest difference / largest value = {value:.1e}")
    return differences


def difference(reference: Any, other: Any) -> float:
    """Return the largest difference of two tensors, relative to the largest value of the first."""
    return float((reference - other).abs().max() / reference.abs().max())


def measure_espnet(options: argparse.Namespace) -> dict[str, Any]:
    """Compare the models, then train the variants in turn; print and return the numbers."""
    sys.path += [str(options.openai_whisper)] if options.openai_whisper else []
    options.outputs, options.threads = f"{options.output}={options.token_type}", 1
    if options.worker:
        work(options, WhisperSetting)
        raise SystemExit
    differences = compare(options)
    variants = take_turns(options.variant or DEFAULT, options.rounds)
    versions = {name: metadata.version(name) for name in ("espnet", "openai-whisper")}
    return {"differences": differences, "variants": variants, "versions": versions}
