"""Export the encoder and the heads of a system to ONNX, and compare them with PyTorch.

Files: `encoder.onnx` (features → encoder states per output), `<output>_ctc.onnx` (states → log
probabilities per frame) and `<output>_decoder.onnx` (tokens so far and states → log probabilities
of the next token). Features (log-mel, normalised) are made in Python: `features` of this module.

All inputs may be batches of equal lengths: the hypotheses of a beam, or recordings of one length.
There is no padding.

Symbols: B batch size, F feature frames, M features, T encoder frames, D states, L tokens, V
vocabulary size.
"""

import statistics
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from espnet_ext.errors import UserError
from espnet_ext.files import write_json
from espnet_ext.model.dual import DualOutputModel
from espnet_ext.model.encoding import EncoderRequest
from espnet_ext.model.load import load_model

TOLERANCE = 1e-4  # largest absolute difference from PyTorch
REPORT = "onnx.json"
FILES = r".*\.onnx|onnx\.json"  # names of the files that are written
_SAMPLES = (48_000, 20_800)  # of the noise that is compared; the first one is traced
_RUNS = 5  # of which the median time is reported


class _Encoder(torch.nn.Module):
    """Features (B, F, M) → states (B, T, D) per output."""

    def __init__(self, model: DualOutputModel):
        super().__init__()
        self.model = model
        (self.encoder_pass,) = model._passes(EncoderRequest())

    def forward(self, feats: torch.Tensor) -> tuple[torch.Tensor, ...]:
        lengths = torch.full((feats.size(0),), feats.size(1), dtype=torch.long)
        result = self.model._run(feats, lengths, self.encoder_pass, False)
        groups = [self.encoder_pass.outputs]
        if self.model.conditioning is not None:
            groups = self.model.conditioning.groups(self.encoder_pass.outputs)
        parts = result.split(len(groups))
        states = {
            name: part.states for group, part in zip(groups, parts, strict=True) for name in group
        }
        return tuple(states[name] for name in self.model.heads)


class _Ctc(torch.nn.Module):
    """States (B, T, D) → log probabilities (B, T, V)."""

    def __init__(self, ctc: Any):
        super().__init__()
        self.ctc = ctc

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        return self.ctc.log_softmax(states)


class _Decoder(torch.nn.Module):
    """Tokens (B, L), which begin with <sos/eos>, and states (B, T, D) → (B, V)."""

    def __init__(self, decoder: Any):
        super().__init__()
        self.decoder = decoder

    def forward(self, tokens: torch.Tensor, states: torch.Tensor) -> torch.Tensor:
        if not hasattr(self.decoder, "forward_one_step"):  # Whisper's
            frames, count = (
                torch.full((one.size(0),), one.size(1), dtype=torch.long)
                for one in (states, tokens)
            )
            logits = self.decoder(states, frames, tokens, count)[0]  # (B, L, V)
            return logits[:, -1].log_softmax(-1)
        positions = torch.arange(tokens.size(1))
        mask = positions[None, :] <= positions[:, None]  # (L, L)
        return self.decoder.forward_one_step(tokens, mask[None], states)[0]


def features(model: DualOutputModel, speech: torch.Tensor) -> torch.Tensor:
    """Return what `encoder.onnx` reads (1, F, M), from samples (S,) at the model's rate."""
    feats, lengths = model.extract_feats(speech[None], torch.tensor([speech.numel()]))
    if model.normalize is not None:
        feats, lengths = model.normalize(feats, lengths)
    return feats


def export_onnx(model_dir: str | Path, folder: Path) -> dict[str, Any]:
    """Write the ONNX files of a system; return the comparison, which is in `onnx.json` too.

    Args:
        model_dir: directory of a trained system.
        folder: existing folder to write.

    Raises:
        UserError: onnx or onnxruntime is missing, a part cannot be exported, or differs from
            PyTorch by more than `TOLERANCE`.
    """
    try:
        import onnx  # noqa: F401  (torch.onnx needs it)
        import onnxruntime  # noqa: F401
    except ImportError as error:
        raise UserError(
            f"{error.name} is not installed", 'pip install "espnet-ext[onnx]"'
        ) from None
    model, _ = load_model(model_dir)
    _check(model, model_dir)
    names = list(model.heads)
    random = torch.Generator().manual_seed(0)
    waves = [0.1 * torch.randn(samples, generator=random) for samples in _SAMPLES]
    parts: dict[str, Any] = {}
    with torch.no_grad():
        inputs = [(features(model, wave),) for wave in waves]
        inputs.append((torch.cat([inputs[1][0], inputs[1][0].flip(1)]),))  # a batch of two
        encoder = _Encoder(model).eval()
        axes = {"feats": {0: "B", 1: "F"}}
        axes |= {f"states_{name}": {0: "B", 1: "T"} for name in names}
        outputs = [f"states_{name}" for name in names]
        path = folder / "encoder.onnx"
        parts[path.name] = _export(encoder, path, inputs, ["feats"], outputs, axes)
        states = [encoder(*one) for one in inputs]
        for index, name in enumerate(names):
            head = model.heads[name]
            of_head = [one[index] for one in states]  # (B, T, D) each
            if head.ctc is not None:
                path = folder / f"{name}_ctc.onnx"
                axes = {"states": {0: "B", 1: "T"}, "log_probs": {0: "B", 1: "T"}}
                rows = [(one,) for one in of_head]
                module = _Ctc(head.ctc).eval()
                parts[path.name] = _export(module, path, rows, ["states"], ["log_probs"], axes)
            if (decoder := getattr(head, "decoder", None)) is not None:
                path = folder / f"{name}_decoder.onnx"
                axes = {
                    "tokens": {0: "B", 1: "L"},
                    "states": {0: "B", 1: "T"},
                    "log_probs": {0: "B"},
                }
                size = len(head.tokens)
                tokens = [
                    torch.cat([torch.full((b, 1), size - 1), torch.randint(size, (b, length))], 1)
                    for b, length in ((1, 5), (1, 2), (2, 3))
                ]
                pairs = list(zip(tokens, of_head, strict=True))
                step = _Decoder(decoder).eval()
                names_in = ["tokens", "states"]
                parts[path.name] = _export(step, path, pairs, names_in, ["log_probs"], axes)
    report = {"tolerance": TOLERANCE, "parts": parts}
    write_json(folder / REPORT, report)
    return report


def _check(model: DualOutputModel, model_dir: str | Path) -> None:
    """Raise `UserError` for a system that has parts without an export."""
    problem = ""
    if len(model._passes(EncoderRequest())) != 1:
        problem = "its encoder runs once per output"
    elif model.conditions:
        problem = f"it reads conditions ({', '.join(model.conditions)})"
    elif model.preencoder is not None or model.reads_encoder_output:
        problem = "it reads no log-mel features"
    for name, head in model.heads.items():
        if head.reads is not None or head.ctc_layer is not None:
            problem = f"the output {name} reads another decoder or encoder layer"
        elif head.options.branch not in ("ctc", "attention", "ctc_attention"):
            problem = f"the output {name} has a head {head.options.branch}"
    if problem:
        raise UserError(
            f"{model_dir}: cannot be exported to ONNX: {problem}",
            "export a system with CTC and transformer decoders on one encoder",
        )


def _export(
    module: torch.nn.Module,
    path: Path,
    inputs: Sequence[tuple[torch.Tensor, ...]],
    names: Sequence[str],
    outputs: Sequence[str],
    axes: Mapping[str, Mapping[int, str]],
) -> dict[str, Any]:
    """Write one part, traced with the first inputs; compare it for all of them.

    Returns:
        `difference`: largest absolute one; `torch_ms` and `onnx_ms`: median time with the first
        inputs, with one thread each.
    """
    import onnxruntime

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the tracer, about sizes that become constants
        torch.onnx.export(
            module,
            inputs[0],
            str(path),
            input_names=list(names),
            output_names=list(outputs),
            dynamic_axes={key: dict(value) for key, value in axes.items()},
            opset_version=17,
            dynamo=False,
        )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    difference = 0.0
    for values in inputs:
        arrays = {name: value.numpy() for name, value in zip(names, values, strict=True)}
        expected = module(*values)
        expected = expected if isinstance(expected, tuple) else (expected,)
        for one, other in zip(expected, session.run(None, arrays), strict=True):
            if tuple(one.shape) != other.shape:
                raise UserError(
                    f"{path.name}: ONNX returns the shape {other.shape}, not {tuple(one.shape)}",
                    "this part cannot be exported with inputs of any length",
                )
            difference = max(difference, float((one - torch.from_numpy(other)).abs().max()))
    if not difference <= TOLERANCE:
        raise UserError(
            f"{path.name}: differs from PyTorch by {difference:.1e}, more than {TOLERANCE:g}",
            "this part cannot be exported; decode with espnet-ext decode",
        )
    first = {name: value.numpy() for name, value in zip(names, inputs[0], strict=True)}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        torch_ms = _median_ms(lambda: module(*inputs[0]))
        onnx_ms = _median_ms(lambda: session.run(None, first))
    finally:
        torch.set_num_threads(threads)
    return {"difference": difference, "torch_ms": torch_ms, "onnx_ms": onnx_ms}


def _median_ms(run: Callable[[], Any]) -> float:
    times = []
    for _ in range(_RUNS):
        start = time.perf_counter()
        run()
        times.append(1000.0 * (time.perf_counter() - start))
    return statistics.median(times)


def lines(report: Mapping[str, Any]) -> list[str]:
    """Return the comparison as text."""
    return [
        f"{name}: differs from PyTorch by {part['difference']:.1e}; {part['onnx_ms']:.1f} ms, "
        f"PyTorch {part['torch_ms']:.1f} ms (one thread)"
        for name, part in report["parts"].items()
    ]
