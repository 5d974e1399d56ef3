"""The Python API: audio in, all transcripts out.

>>> recognise = DualSpeech2Text.from_pretrained("exp/ko/do_small")  # doctest: +SKIP
>>> recognise("utterance.wav").best["surface"].text                 # doctest: +SKIP
"""

import contextlib
import copy
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np
import torch

from espnet_ext.data.audio import load_audio, resample
from espnet_ext.data.long_audio import LongAudio
from espnet_ext.decoding.alignment import align
from espnet_ext.decoding.coupling import WEIGHT, Candidates, Coupling, LearnerErrorModel
from espnet_ext.decoding.options import change_options, parse_options, suited, with_defaults
from espnet_ext.decoding.request import active_outputs, requested
from espnet_ext.decoding.scorers import quantise
from espnet_ext.decoding.search import Hypothesis, Result, Searcher, build_searcher
from espnet_ext.decoding.segmentation import check_seconds, speech_spans, stitch
from espnet_ext.errors import UserError
from espnet_ext.model.config import check_keys
from espnet_ext.model.dual import DualOutputModel
from espnet_ext.model.encoding import EncoderRequest
from espnet_ext.model.frames import EncoderFrames, frontend_frames
from espnet_ext.model.heads.search import RawHypothesis
from espnet_ext.model.load import load_model
from espnet_ext.text.ngram import Ngrams, read_arpa
from espnet_ext.text.tokenizers import UNK, build_tokenizer

Audio = str | Path | np.ndarray | torch.Tensor


NOTHING = Hypothesis("", (), (), 0.0)
READ_SECONDS = 300.0  # of long audio held at once
# How the network computes: exact in float32, faster and approximate in the others.
PRECISIONS: dict[str, Callable[[torch.device], contextlib.AbstractContextManager]] = {
    "float32": lambda device: contextlib.nullcontext(),
    "bfloat16": lambda device: torch.autocast(device.type, torch.bfloat16),
    "float16": lambda device: torch.autocast(device.type, torch.float16),
    "int8": lambda device: contextlib.nullcontext(),
}


class DualSpeech2Text:
    """Recogniser for every output of a model; the encoder runs once an utterance.

    Args:
        model: in evaluation mode.
        config: its configuration (token types, sample rate).
        options: search options, shared or under `outputs`, see decoding.options; what they leave
            open is what suits our systems (`suited`); a stock model is
            decoded as ESPnet decodes it.
        model_dir: what paths in `config` are relative to.
        lms: language models by output, for shallow fusion.
        precision: of the network's arithmetic, a key of PRECISIONS; CTC sums stay in float64.
        coupling: ranks the n best (`nbest`) of two outputs in pairs.
        ngrams: n-gram models by output, for shallow fusion too.
        only: outputs to give, and inline tags to expect in them (`meaning.l1`); all unless given.
        active: what a model with task vectors is told is asked for: "auto", "together" or "alone"
            (model.conditioning.active_sets), or names of outputs and tags, with spaces between
            them, or a set of such names for each output.
    """

    def __init__(
        self,
        model: DualOutputModel,
        config: Mapping[str, Any],
        options: Mapping[str, Any] | None = None,
        model_dir: str | Path = ".",
        lms: Mapping[str, torch.nn.Module] | None = None,
        precision: str = "float32",
        coupling: Coupling | None = None,
        ngrams: Mapping[str, Ngrams] | None = None,
        only: Sequence[str] | None = None,
        active: str | Mapping[str, Sequence[str]] = "auto",
    ):
        tasks = requested(model, only)
        self.outputs = [name for name in tasks if name in model.heads]
        self.active = active_outputs(model, tasks, active)
        if coupling is not None:
            check_keys(coupling.outputs, self.outputs, "coupled outputs")
        self.coupling = coupling
        weight = next(model.parameters())
        self.device, self.dtype = weight.device, weight.dtype
        self.precision = _check_precision(precision, self.device)
        if precision == "int8":
            model = copy.deepcopy(model)
            quantise(model.encoder)
        self.model = model
        self.sample_rate = sample_rate_of(config)
        options = dict(options or {})
        if config.get("stock"):
            defaults = {name: head.stock_search_defaults() for name, head in model.heads.items()}
            options = with_defaults(options, defaults)
        else:
            defaults = {name: head.search_defaults() for name, head in model.heads.items()}
            options = suited(options, defaults)
        self.options = parse_options(options, list(model.heads))
        # Positions of ESPnet's first kind depend on the padding: such models decode one by one.
        self.together = not any(
            type(part).__name__.startswith("Legacy") for part in model.encoder.modules()
        ) and not getattr(model.frontend, "sees_padding", False)
        self.lms = dict(lms or {})
        check_keys(self.lms, list(model.heads), "language models")
        self.ngrams = dict(ngrams or {})
        check_keys(self.ngrams, list(model.heads), "n-gram models")
        self.tokenizers = {}
        for name, head in model.heads.items():
            bpemodel = head.options.bpemodel
            bpemodel = Path(model_dir) / bpemodel if bpemodel else None
            self.tokenizers[name] = build_tokenizer(head.options.token_type, bpemodel)
        self.searchers = self._searchers()

    def _searchers(self) -> dict[str, Searcher]:
        return {
            name: build_searcher(
                head,
                self.options[name],
                self.lms.get(name),
                self.precision == "int8",
                self.ngrams.get(name),
            )
            for name, head in self.model.heads.items()
            if name in self.outputs
        }

    @classmethod
    def from_pretrained(
        cls,
        model_dir: str | Path,
        weights: str = "model.pth",
        device: str = "cpu",
        lms: Mapping[str, str | Path] | None = None,
        precision: str = "float32",
        coupling: Coupling | None = None,
        ngrams: Mapping[str, str | Path] | None = None,
        only: Sequence[str] | None = None,
        active: str | Mapping[str, Sequence[str]] = "auto",
        **options,
    ) -> "DualSpeech2Text":
        """Load a directory that stage 11 wrote.

        Args:
            weights: file name of the weights in it.
            lms: directories of ESPnet language models, by output.
            ngrams: ARPA files, by output.
            precision, coupling, only, active: see the class.
            options: search options, e.g. `beam_size=5`.
        """
        model, config = load_model(model_dir, weights, device)
        loaded = {name: _load_lm(folder, device) for name, folder in (lms or {}).items()}
        arpa = {name: read_arpa(path) for name, path in (ngrams or {}).items()}
        return cls(
            model, config, options, model_dir, loaded, precision, coupling, arpa, only, active
        )

    def __call__(self, audio: Audio, sample_rate: int | None = None) -> Result:
        """Recognise one utterance: a path, or samples (S,) with their rate."""
        return self.batch([audio], sample_rate)[0]

    def batch(self, audios: Sequence[Audio], sample_rate: int | None = None) -> list[Result]:
        """Recognise utterances together; results come in the order given.

        Audio that `is_too_short` has nothing in it: its transcripts are empty.
        """
        single = isinstance(audios, str | bytes | Path) or getattr(audios, "ndim", 1) == 0
        if single or not isinstance(audios, Iterable):
            raise UserError(f"a batch that is {audios!r}", "give a list of audio")
        waves = [self.samples(audio, sample_rate) for audio in audios]
        results = [self.nothing()] * len(waves)
        heard = [i for i, wave in enumerate(waves) if not self.is_too_short(wave.numel())]
        for part in self._batches([waves[i].numel() for i in heard]):
            chosen = [heard[i] for i in part]
            for index, result in zip(chosen, self._decode([waves[i] for i in chosen]), strict=True):
                results[index] = result
        return results

    def long(self, path: str | Path, longest: float = 30.0) -> Result:
        """Recognise a file of any length, part by part: memory does not grow with it.

        It is cut at silences (needs the `vad` extra) into parts of at most `longest` seconds, whose
        best transcripts are put together; all of them stand in the result's `parts`.
        """
        if not isinstance(path, str | Path):
            raise UserError(f"long audio of type {type(path).__name__}", "give a sound file's path")
        check_seconds(longest, "longest")
        parts = []
        with contextlib.closing(LongAudio(str(path))) as audio:
            for group in _groups(speech_spans(audio, longest)):
                waves = [audio.part(*span, self.sample_rate) for span in group]
                parts += zip(group, self.batch(waves), strict=True)
        return stitch(parts, self.outputs)

    def token_ids(self, output: str, text: str) -> list[int]:
        """A transcript as ids of one branch; what its token list lacks is `<unk>`."""
        number = {token: i for i, token in enumerate(self.model.heads[output].tokens)}
        return [number.get(token, number[UNK]) for token in self.tokenizers[output].encode(text)]

    def is_too_short(self, samples: int) -> bool:
        """Whether so many samples (at `sample_rate`) are fewer than the encoder can take in."""
        frames = frontend_frames(samples, self.model.frontend)
        return samples == 0 or (frames is not None and frames < self.model.min_frames)

    def nothing(self) -> Result:
        """The result where there is nothing to be heard: empty transcripts."""
        return Result({name: [NOTHING] for name in self.outputs})

    def samples(self, audio: Audio, sample_rate: int | None = None) -> torch.Tensor:
        """One utterance as (S,) samples at the model's rate."""
        real = isinstance(sample_rate, Real) and not isinstance(sample_rate, bool)
        if sample_rate is not None and not (real and 1000 <= sample_rate < float("inf")):
            raise UserError(f"sample_rate {sample_rate!r}", "give it in Hz, e.g. 16000")
        if isinstance(audio, str | Path):
            samples, _ = load_audio(str(audio), self.sample_rate)
            return torch.from_numpy(samples)
        if isinstance(audio, np.ndarray):  # torch takes native byte order and positive strides
            audio = audio.astype(audio.dtype.newbyteorder("="))
        try:
            wave = torch.as_tensor(audio).detach().cpu()
        except (TypeError, ValueError, RuntimeError):
            raise UserError(
                f"audio of type {type(audio).__name__}",
                "give a sound file's path, or samples as an array of floats from -1 to 1",
            ) from None
        if wave.dim() != 1 or not wave.is_floating_point():
            raise UserError(
                f"samples of shape {tuple(wave.shape)} and type {wave.dtype}",
                "give one channel, shape (S,), as floats from -1 to 1",
            )
        wave = wave.float()
        if not torch.isfinite(wave).all():
            raise UserError("samples that are not finite (NaN or infinite)", "mend the audio")
        if sample_rate is not None and sample_rate != self.sample_rate:
            wave = torch.from_numpy(resample(wave.numpy(), sample_rate, self.sample_rate))
        return wave

    @functools.cached_property
    def encoder_frames(self) -> EncoderFrames:
        """Encoder frames as a function of samples."""
        return EncoderFrames.measure(self.model)

    def _batches(self, lengths: Sequence[int]) -> Iterator[list[int]]:
        """Indices of utterances of like length, padded encoder frames under the budget."""
        budget = min(options.batch_frames for options in self.options.values())
        part: list[int] = []
        for index in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
            wide = part and self.encoder_frames(lengths[part[0]]) * (len(part) + 1) > budget
            if wide or (part and not self.together):
                yield part
                part = []
            part.append(index)
        if part:
            yield part

    def _decode(self, waves: Sequence[torch.Tensor]) -> list[Result]:
        """One batch; in halves if memory is too small for it."""
        try:
            return self._decode_batch(waves)
        except (MemoryError, RuntimeError) as error:
            if not _is_out_of_memory(error):
                raise
            if len(waves) == 1:
                seconds = waves[0].numel() / self.sample_rate
                raise UserError(
                    f"out of memory on {seconds:.0f} s of audio by itself",
                    "cut it up, or give a smaller beam_size",
                ) from None
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        middle = len(waves) // 2
        return self._decode(waves[:middle]) + self._decode(waves[middle:])

    @torch.no_grad()
    def _decode_batch(self, waves: Sequence[torch.Tensor]) -> list[Result]:
        lengths = torch.tensor([wave.numel() for wave in waves])
        speech = torch.nn.utils.rnn.pad_sequence(list(waves), batch_first=True)
        speech, lengths = speech.to(self.device, self.dtype), lengths.to(self.device)
        with PRECISIONS[self.precision](self.device):
            encoded = self.model.encode(speech, lengths, self._request())
            states = {name: hidden.to(self.dtype) for name, hidden in encoded.hidden.items()}
            nbest = {
                name: self.searchers[name](states[name], encoded.lengths[name])
                for name in self.outputs
            }
        if self.coupling is not None:
            self._couple(nbest)
        results = []
        for i, wave in enumerate(waves):
            heard = {
                name: rows[i, : int(encoded.lengths[name][i])] for name, rows in states.items()
            }
            seconds = wave.numel() / self.sample_rate
            results.append(
                Result(
                    {
                        name: [
                            self._finish(name, raw, heard[name], seconds) for raw in nbest[name][i]
                        ]
                        or [NOTHING]
                        for name in self.outputs
                    }
                )
            )
        return results

    def _request(self) -> EncoderRequest:
        """Return what is asked of the encoder: outputs, and the tasks active for each."""
        conditioner = self.model.conditioning
        active = None
        if conditioner is not None:
            active = {name: conditioner.active_set(self.active[name]) for name in self.outputs}
        return EncoderRequest(self.outputs, active, batch_invariant=True)

    def _couple(self, nbest: Mapping[str, list[list[RawHypothesis]]]) -> None:
        """Put the two that fit best first, in the n best of every utterance."""
        lists = [nbest[name] for name in self.coupling.outputs]
        candidates = [
            [self._candidates(name, raws) for raws in of_output]
            for name, of_output in zip(self.coupling.outputs, lists, strict=True)
        ]
        chosen = self.coupling.choose(*candidates)
        for of_output, indices in zip(lists, zip(*chosen, strict=True), strict=True):
            for raws, index in zip(of_output, indices, strict=True):
                if raws:
                    raws.insert(0, raws.pop(index))

    def _candidates(self, name: str, raws: Sequence[RawHypothesis]) -> Candidates:
        """Tokens and what the search ranks by; a score per token as that of a whole transcript."""
        tokens = self.model.heads[name].tokens
        said = [[tokens[i] for i in raw.token_ids] for raw in raws]
        if not self.options[name].normalize_length:
            return [(one, raw.score) for one, raw in zip(said, raws, strict=True)]
        return [
            (one, raw.score / (len(one) + 1) * (len(said[0]) + 1))
            for one, raw in zip(said, raws, strict=True)
        ]

    def _finish(
        self, name: str, raw: RawHypothesis, states: torch.Tensor, seconds: float
    ) -> Hypothesis:
        """A hypothesis as text, with times if they are asked for; states: (T, D)."""
        head = self.model.heads[name]
        tokens = tuple(head.tokens[i] for i in raw.token_ids)
        times = None
        if self.options[name].times and head.ctc is not None:
            log_probs = head.ctc.log_softmax(states.unsqueeze(0))[0]
            times = align(log_probs, raw.token_ids, seconds)
        return Hypothesis(
            self.tokenizers[name].decode(tokens),
            tokens,
            raw.token_ids,
            raw.score,
            dict(raw.scores),
            raw.confidences,
            times,
        )

    def couple(self, texts: Mapping[str, Sequence[str]], weight: float = WEIGHT) -> None:
        """From now on rank the n best (`nbest`) of two outputs in pairs.

        Args:
            texts: output → its transcripts of training utterances, in one order for both.
            weight: of a pair's consistency beside the scores, all in nats.
        """
        check_keys(texts, self.outputs, "coupled outputs")
        if len(texts) != 2:
            raise UserError(f"coupling of {len(texts)} outputs", "give the texts of two")
        real = isinstance(weight, Real) and not isinstance(weight, bool)
        if not real or not 0 <= weight < float("inf"):
            raise UserError(f"coupling weight {weight!r}", "give a number from 0 on")
        if all(self.options[name].nbest == 1 for name in texts):
            raise UserError("coupling of one hypothesis an output", "ask for more: nbest=10")
        pairs = {
            name: [self.tokenizers[name].encode(one) for one in own] for name, own in texts.items()
        }
        self.coupling = Coupling(LearnerErrorModel.estimate(pairs), weight)

    def restricted(self, output: str, active: Sequence[str]) -> "DualSpeech2Text":
        """The same model giving one output alone, with these outputs and tags active."""
        clone = object.__new__(type(self))
        clone.__dict__.update(self.__dict__)
        clone.outputs = requested(self.model, [output])
        clone.active = active_outputs(self.model, clone.outputs, {output: active})
        clone.searchers, clone.coupling = {output: self.searchers[output]}, None
        return clone

    def with_options(self, **options) -> "DualSpeech2Text":
        """The same model with other search options for all outputs."""
        clone = object.__new__(type(self))
        clone.__dict__.update(self.__dict__)
        clone.options = {n: change_options(n, o, options) for n, o in self.options.items()}
        clone.searchers = clone._searchers()
        return clone


def _groups(spans: Sequence[tuple[float, float]]) -> Iterator[list[tuple[float, float]]]:
    """Stretches of audio that are read together."""
    group: list[tuple[float, float]] = []
    for span in spans:
        if group and sum(end - start for start, end in [*group, span]) > READ_SECONDS:
            yield group
            group = []
        group.append(span)
    if group:
        yield group


def sample_rate_of(config: Mapping[str, Any]) -> int:
    """What a model was trained on, in Hz."""
    rate = (config.get("frontend_conf") or {}).get("fs", 16000)
    try:
        if isinstance(rate, str):  # ESPnet also takes "16k"
            rate = float(rate[:-1]) * 1000 if rate.endswith("k") else rate
        return int(rate)
    except (TypeError, ValueError):
        raise UserError(f"frontend_conf.fs {rate!r}", "write it in Hz, e.g. 16000") from None


def _load_lm(folder: str | Path, device: str) -> torch.nn.Module:
    from espnet_ext.model import espnet

    folder = Path(folder)
    weights = next(
        (p for p in (folder / "valid.loss.ave.pth", folder / "valid.loss.best.pth") if p.exists()),
        None,
    )
    if weights is None or not (folder / "config.yaml").is_file():
        raise UserError(f"{folder}: no trained language model there", "run stages 6 to 8")
    model, _ = espnet.load("LMTask").build_model_from_file(folder / "config.yaml", weights, device)
    return model.lm.eval()


def _check_precision(precision: str, device: torch.device) -> str:
    if precision not in PRECISIONS:
        raise UserError(f"precision {precision!r}", f"choose among {', '.join(PRECISIONS)}")
    needed = {"int8": "cpu", "float16": "cuda"}.get(precision, device.type)
    if device.type != needed:
        remedy = "use bfloat16 there, or float32"
        raise UserError(f"precision {precision} on {device.type}: it is for {needed}", remedy)
    return precision


def _is_out_of_memory(error: BaseException) -> bool:
    kinds = (torch.OutOfMemoryError, MemoryError)
    return isinstance(error, kinds) or "can't allocate memory" in str(error)  # torch's, on a CPU
