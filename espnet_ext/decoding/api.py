"""The Python API of decoding: audio in, transcripts of all outputs out.

>>> recognise = DualSpeech2Text.from_pretrained("exp/ko/do_small")  # doctest: +SKIP
>>> recognise("utterance.wav").best["surface"].text                 # doctest: +SKIP
"""

import contextlib
import copy
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from espnet_ext.decoding.threads import choose_threads, limit_threads

# isort: split
import torch  # after `threads`, which sets how its threads wait

from espnet_ext.data.audio import check_channel
from espnet_ext.data.long_audio import LongAudio
from espnet_ext.data.narrowband import band_of
from espnet_ext.decoding.batches import batches_by_length, decode_or_split
from espnet_ext.decoding.canonical import Canonical
from espnet_ext.decoding.canonical_forms import (
    SURFACE,
    CanonicalDecoding,
    CanonicalText,
    Pronouncer,
    parse_all,
    pronouncer,
)
from espnet_ext.decoding.coupling import DEFAULT_WEIGHT, Coupling, check_weight
from espnet_ext.decoding.finite import check_logits
from espnet_ext.decoding.options import (
    change_options,
    describe,
    parse_options,
    with_defaults,
)
from espnet_ext.decoding.output_search import OutputSearch, search_order, searched_outputs
from espnet_ext.decoding.precision import PRECISIONS, QUANTISED, check_precision
from espnet_ext.decoding.pronunciation_errors import DEFAULT_WEIGHT as CANONICAL_WEIGHT
from espnet_ext.decoding.pronunciation_errors import PronunciationErrors
from espnet_ext.decoding.request import active_tasks, requested_tasks
from espnet_ext.decoding.scorers import load_lm, quantise
from espnet_ext.decoding.search import EMPTY, Result, Searcher, build_searcher
from espnet_ext.decoding.segmentation import Span, check_seconds, group_spans, speech_spans, stitch
from espnet_ext.decoding.unit_input import UnitReader
from espnet_ext.decoding.waveform import (
    Audio,
    audio_name,
    audio_path,
    check_list,
    read_all,
    to_waveform,
    value_ids,
    warn_too_short,
)
from espnet_ext.errors import UserError
from espnet_ext.model.archive import find_model_dir
from espnet_ext.model.conditions import check_labels, ids_of, tensors_of
from espnet_ext.model.config import check_keys, sample_rate_of
from espnet_ext.model.dual import DualOutputModel
from espnet_ext.model.encoding import EncoderRequest
from espnet_ext.model.frames import EncoderFrames, frontend_frames
from espnet_ext.model.load import build_tokenizers, load_model, search_device
from espnet_ext.model.padding import is_batch_invariant
from espnet_ext.text.ngram import Ngrams, read_arpa
from espnet_ext.text.tokenizers import UNK


class DualSpeech2Text:
    """Recogniser for all outputs of a model.

    The encoder runs once per utterance, unless outputs need different encoder passes.

    Args:
        model: the model, in evaluation mode.
        config: its configuration.
        options: search options for all outputs, and for single ones under `outputs` (see
            `decoding.options`). Options that are left open get the defaults of each head, or those
            of ESPnet for a model that ESPnet trained (`Head.default_search`).
        espnet_defaults: whether models that ESPnet trained have ESPnet's defaults.
        model_dir: folder that relative paths in `config` start from.
        lms: ESPnet language models for shallow fusion, by output.
        precision: a key of `precision.PRECISIONS`. CTC scores are computed in float64 in any case.
        coupling: re-ranks pairs of two outputs' n-best lists; needs `nbest` above 1.
        ngrams: n-gram models for shallow fusion, by output.
        only: outputs to return, and inline tags to expect in them (`meaning.l1`); default: all.
        active: tasks that are active in the encoder, for a model with task vectors: "auto",
            "together" or "alone" (see `model.conditioning.active`); or names of tasks separated by
            spaces; or output → names of tasks.
        units: makes input ids of audio, for a model that reads discrete units.
        channel: which of several channels of audio files to take: a number from 0, or "mix" for
            their mean. Files with one channel are read as they are. None: several are an error.
        conditions: labels of all utterances, for a model that reads any: {"l1": "ko"}. Those that
            are given with an utterance replace them.

    Raises:
        UserError: options, outputs, conditions or labels that the model does not have.
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
        espnet_defaults: bool = True,
        units: UnitReader | None = None,
        channel: int | str | None = None,
        conditions: Mapping[str, str] | None = None,
    ):
        self.channel = check_channel(channel)
        self.conditions = dict(conditions or {})
        check_labels(model.condition_values, self.conditions)
        tasks = requested_tasks(model, only)
        self.outputs = [name for name in tasks if name in model.heads]
        self.searched = searched_outputs(model, self.outputs)  # with those that they read
        self.active = active_tasks(model, list(dict.fromkeys([*tasks, *self.searched])), active)
        if coupling is not None:
            check_keys(dict.fromkeys(coupling.outputs), self.outputs, "coupled outputs")
        self.coupling = coupling
        self.canonical: CanonicalDecoding | None = None  # see `use_canonical`
        self.cache: Path | None = None  # folder for what is estimated from data
        self.log_probs_of: Sequence[str] = ()  # outputs whose CTC log probabilities results have
        parameter = next(model.encoder.parameters())  # the heads may be on the search device
        self.device, self.dtype = parameter.device, parameter.dtype
        self.search_device = search_device(self.device)
        self.precision = check_precision(precision, self.device)
        if precision == "int8":
            model = copy.deepcopy(model)
            quantise(model.encoder)
        self.model = model
        self.num_threads = choose_threads(model) if self.device.type == "cpu" else None
        self.units = units
        self.sample_rate = sample_rate_of(config) if units is None else units.sample_rate
        options = dict(options or {})
        is_stock = bool(config.get("stock")) and espnet_defaults
        defaults = {name: head.default_search(is_stock) for name, head in model.heads.items()}
        options = with_defaults(options, defaults)
        self.options = parse_options(options, list(model.heads))
        self.is_batch_invariant = is_batch_invariant(model)
        self.lms = dict(lms or {})
        check_keys(self.lms, list(model.heads), "language models")
        self.ngrams = dict(ngrams or {})
        check_keys(self.ngrams, list(model.heads), "n-gram models")
        self.tokenizers = build_tokenizers(model, model_dir)
        self.searchers = self._build_searchers()

    def describe_search(self) -> dict[str, str]:
        """Return output → the search options that it is decoded with, in one line."""
        return {name: describe(self.model.heads[name], self.options[name]) for name in self.outputs}

    def _build_searchers(self) -> dict[str, Searcher]:
        if self.units is not None:
            self.units.check_times(self.options[name].times for name in self.outputs)
        return {
            name: build_searcher(
                head,
                self.options[name],
                self.lms.get(name),
                self.precision in QUANTISED,
                self.ngrams.get(name),
                self.canonical.prior(head.tokens) if self.canonical and name == SURFACE else None,
            )
            for name, head in self.model.heads.items()
            if name in self.searched
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
        espnet_defaults: bool = True,
        unit_encoder: str | None = None,
        channel: int | str | None = None,
        conditions: Mapping[str, str] | None = None,
        **options,
    ) -> "DualSpeech2Text":
        """Load a model directory, of stage 11 or of stock ESPnet, or a packed model.

        Args:
            model_dir: the directory; or an archive of stage 14 or of ESPnet (`.zip`, `.tgz`); or a
                repository of the Hugging Face hub that stage 16 has filled, `user/name` or
                `user/name/folder`.
            weights: name of the weights file in it.
            device: "cpu", "cuda", or "mps": the GPU of a Mac encodes, and the CPU searches.
            lms: folders of ESPnet language models, by output.
            ngrams: ARPA files, by output.
            precision, coupling, only, active, espnet_defaults, channel, conditions: see the class.
            unit_encoder: for a model that reads discrete units: folder or hub name of the network
                that they are made with, if it is no longer where it was.
            options: search options, for example `beam_size=5`.
        """
        model_dir = find_model_dir(model_dir)
        model, config = load_model(model_dir, weights, device)
        loaded_lms = {name: load_lm(folder, device) for name, folder in (lms or {}).items()}
        loaded_ngrams = {name: read_arpa(path) for name, path in (ngrams or {}).items()}
        units = UnitReader.from_pretrained(config, model_dir, device, unit_encoder)
        others = (precision, coupling, loaded_ngrams, only, active, espnet_defaults, units)
        parts = (model, config, options, model_dir, loaded_lms, *others)
        recogniser = cls(*parts, channel=channel, conditions=conditions)
        recogniser.cache = model_dir
        return recogniser

    def __call__(
        self,
        audio: Audio,
        sample_rate: int | None = None,
        conditions: Mapping[str, str] | None = None,
        canonical: CanonicalText | None = None,
    ) -> Result:
        """Recognise one utterance.

        Args:
            audio: path of an audio file, or samples (S,) as floats from −1 to 1.
            sample_rate: sample rate of samples, in Hz; default: the model's.
            conditions: labels of the utterance, for a model that reads any: {"band": "narrow"}.
                By default, those of the class, and the band of the sample rate.
            canonical: its canonical form, if `use_canonical` was called: a transcript, or a list
                of alternative ones, or for each word the list of its pronunciations.
        """
        forms = None if canonical is None else [canonical]
        return self.batch([audio], sample_rate, conditions, forms)[0]

    def batch(
        self,
        audios: Sequence[Audio],
        sample_rate: int | None = None,
        conditions: Mapping[str, str | Sequence[str]] | None = None,
        canonical: Sequence[CanonicalText | None] | None = None,
    ) -> list[Result]:
        """Recognise several utterances in batches; results are in the order of `audios`.

        Audio for which `is_too_short` holds has empty transcripts, with a warning. Arguments as in
        `__call__`; the value of a condition is one label, or a list.
        `canonical` has one form per audio, or None for audio without one.
        """
        audios = check_list(audios)
        labels = self._labels(conditions)
        ids = value_ids(self.model.condition_values, audios, sample_rate, labels)
        if canonical is not None and self.canonical is None:
            raise UserError("canonical forms without an error model", "call use_canonical first")
        forms = parse_all(canonical, len(audios), self.tokenizers.get(SURFACE))
        names = [audio_name(audio, i, len(audios)) for i, audio in enumerate(audios)]
        waves = read_all(lambda audio: self.samples(audio, sample_rate), audios, names)
        seconds = [wave.numel() / self.sample_rate for wave in waves]
        inputs = waves if self.units is None else self.units.speech(waves, names)
        warn_too_short(names, seconds, [self._is_empty(values) for values in inputs])
        return self._decode_all(inputs, names, ids, forms)

    def texts(
        self, texts: Sequence[str], conditions: Mapping[str, str | Sequence[str]] | None = None
    ) -> list[Result]:
        """Map texts, such as surface transcripts, to transcripts; for a model that reads units.

        Results lack the output that was the input in training. An empty text has empty transcripts.
        `conditions` as for `batch`, but the band must be given if the model reads it.
        """
        if self.units is None:
            remedy = "use a system with frontend: units that was trained on text"
            raise UserError("texts as input: the model reads audio only", remedy)
        inputs = self.units.text(texts)
        ids = ids_of(self.model.condition_values, self._labels(conditions), len(inputs))
        names = [f"text {i + 1} of {len(inputs)}: " for i in range(len(inputs))]
        kept = [n for n in self.outputs if n != self.units.layout.text_output] or self.outputs
        return self._only(kept)._decode_all(inputs, names, ids, [None] * len(inputs))

    def _labels(
        self, conditions: Mapping[str, str | Sequence[str]] | None, rate: float | None = None
    ) -> dict[str, str | Sequence[str]]:
        """Return conditions: those of a call, else those of the class, else the band of a rate."""
        labels: dict[str, str | Sequence[str]] = {}
        if rate is not None and "band" in self.model.condition_values:
            labels["band"] = band_of(rate)
        return {**labels, **self.conditions, **(conditions or {})}

    def _decode_all(
        self,
        waves: Sequence[torch.Tensor],
        names: Sequence[str],
        ids: Mapping[str, Sequence[int]],
        forms: Sequence[Canonical | None],
    ) -> list[Result]:
        """Decode inputs in batches of similar length.

        Args:
            waves: samples (S,), or input ids (L,) for a model that reads discrete units.
            names: how errors name them.
            ids: value ids of conditions.
            forms: canonical forms.
        """
        results = [self.nothing()] * len(waves)
        long_enough = [i for i, wave in enumerate(waves) if not self._is_empty(wave)]
        max_frames = min(options.batch_frames for options in self.options.values())
        num_samples = {i: max(waves[i].numel(), self.model.min_frames) for i in long_enough}

        def decode(batch: Sequence[int]) -> list[Result]:
            labels = {name: [values[i] for i in batch] for name, values in ids.items()}
            return self._decode_batch([waves[i] for i in batch], labels, [forms[i] for i in batch])

        unit, per_unit = ("input ids", 1) if self.units is not None else ("s", self.sample_rate)
        sizes = [f"{wave.numel() / per_unit:.0f} {unit}" for wave in waves]
        for batch in batches_by_length(
            num_samples, self.encoder_frames, max_frames, single=not self.is_batch_invariant
        ):
            batch_results = decode_or_split(decode, batch, names, sizes)
            for i, result in zip(batch, batch_results, strict=True):
                results[i] = result
        return results

    def long(
        self,
        path: str | Path,
        longest: float = 30.0,
        conditions: Mapping[str, str] | None = None,
    ) -> Result:
        """Recognise an audio file of any length; memory does not grow with its length.

        It is cut at silences (needs the `vad` extra) into segments of at most `longest` seconds.
        Their best transcripts are joined; `parts` of the result has the results of the segments.
        Canonical forms are used only if they are derived from an output (see `use_canonical`).
        """
        check_seconds(longest, "longest")
        parts: list[tuple[Span, Result]] = []
        with contextlib.closing(LongAudio(audio_path(path), self.channel)) as audio:
            labels = self._labels(conditions, audio.rate)
            for spans in group_spans(speech_spans(audio, longest)):
                waves = [audio.part(*span, self.sample_rate) for span in spans]
                parts += zip(spans, self.batch(waves, conditions=labels), strict=True)
        return stitch(parts, self.outputs)

    def token_ids(self, output: str, text: str) -> list[int]:
        """Return the token ids of a transcript; tokens that the output lacks become `<unk>`."""
        id_of = {token: i for i, token in enumerate(self.model.heads[output].tokens)}
        return [id_of.get(token, id_of[UNK]) for token in self.tokenizers[output].encode(text)]

    def is_too_short(self, samples: int) -> bool:
        """Return whether a number of samples (at `sample_rate`) is too small for the encoder."""
        if samples == 0:
            return True
        if self.units is not None:
            return self.units.is_too_short(samples)
        frames = frontend_frames(samples, self.model.frontend)
        return frames is not None and frames < self.model.min_frames

    def _is_empty(self, wave: torch.Tensor) -> bool:
        """Return whether samples are too few, or input ids are none."""
        return self.is_too_short(wave.numel()) if self.units is None else not wave.numel()

    def nothing(self) -> Result:
        """Return a result with empty transcripts."""
        return Result({name: [EMPTY] for name in self.outputs})

    def samples(self, audio: Audio, sample_rate: int | None = None) -> torch.Tensor:
        """Return audio as samples (S,) in float32 at the model's sample rate.

        Arguments as in `__call__`.
        """
        return to_waveform(audio, sample_rate, self.sample_rate, self.channel)

    @functools.cached_property
    def encoder_frames(self) -> EncoderFrames:
        """Number of encoder frames as a function of the number of samples."""
        return EncoderFrames.measure(self.model)

    @torch.no_grad()
    def _decode_batch(
        self,
        waves: Sequence[torch.Tensor],
        conditions: Mapping[str, Sequence[int]],
        forms: Sequence[Canonical | None],
    ) -> list[Result]:
        lengths = torch.tensor([wave.numel() for wave in waves])
        speech = torch.nn.utils.rnn.pad_sequence(list(waves), batch_first=True)  # (B, S)
        dtype = speech.dtype if self.units is not None else self.dtype
        speech, lengths = speech.to(self.device, dtype), lengths.to(self.device)
        with (
            limit_threads(self.num_threads),
            PRECISIONS[self.precision](self.device),
            check_logits(self.model.heads, self.searchers, self.precision),
        ):
            encoded = self.model.encode(speech, lengths, self._encoder_request(conditions))
            encoded = encoded.to(self.search_device, self.dtype)
            source = self.canonical.source if self.canonical is not None else None
            search = OutputSearch(self.model, self.searchers, encoded, self.precision)
            order = search_order(self.model, self.searched, source, SURFACE)
            for name in order if self.canonical else search.run_independent(order):
                options: dict[str, Any] = {}
                if name == SURFACE and self.canonical is not None:
                    if source is not None:
                        head, tokenizer = self.model.heads[source], self.tokenizers[source]
                        best = search.best(source)
                        texts = [tokenizer.decode([head.tokens[i] for i in ids]) for ids in best]
                        forms = self.canonical.complete(forms, texts, self.tokenizers[name])
                    options["canonical"] = forms
                search.run(name, **options)
        if self.coupling is not None:
            tokens = {name: self.model.heads[name].tokens for name in self.coupling.outputs}
            self.coupling.rerank(search.nbest_lists, tokens, self.options)
        seconds = [wave.numel() / self.sample_rate for wave in waves]
        parts = (self.options, self.tokenizers, self.log_probs_of)
        return search.results(self.outputs, seconds, *parts)

    def _encoder_request(self, conditions: Mapping[str, Sequence[int]]) -> EncoderRequest:
        """Return the outputs to encode for, the tasks that are active for each, and conditions."""
        conditioner = self.model.conditioning
        active = None
        if conditioner is not None:
            active = {name: conditioner.active_set(self.active[name]) for name in self.searched}
        return EncoderRequest(self.searched, active, tensors_of(conditions), batch_invariant=True)

    def couple(self, texts: Mapping[str, Sequence[str]], weight: float = DEFAULT_WEIGHT) -> None:
        """Re-rank pairs of the n-best lists of two outputs from now on; needs `nbest` above 1.

        Estimating the learner-error model can take minutes. It is kept in the model directory, for
        the next time that the same transcripts are given.

        Args:
            texts: two outputs → their transcripts of the same training utterances.
            weight: weight of the pairs' consistency (see `decoding.coupling`).
        """
        check_keys(texts, self.outputs, "coupled outputs")
        self.coupling = Coupling.fit(texts, self.tokenizers, self.options, weight, self.cache)

    def use_canonical(
        self,
        errors: PronunciationErrors,
        weight: float = CANONICAL_WEIGHT,
        source: str | None = None,
        pronounce: Pronouncer | None = None,
    ) -> None:
        """Decode the surface with its canonical form from now on (see `decoding.canonical`).

        The canonical form of an utterance is given with its audio, or derived from an output that
        is decoded first.

        Args:
            errors: pronunciation error model of the learners.
            weight: weight of log P(surface | canonical).
            source: output that gives the canonical form of audio without one, such as `meaning`.
            pronounce: text of `source` → canonical form; None: see `canonical_forms.pronouncer`.
        """
        check_weight(weight, "canonical weight")
        check_keys([SURFACE], self.outputs, "decoding with canonical forms")
        if source is not None:
            others = [name for name in self.outputs if name != SURFACE]
            check_keys([source], others, "source of canonical forms")
            pronounce = pronounce or pronouncer(self.model.heads[SURFACE].options.token_type)
        self.canonical = CanonicalDecoding(errors, weight, source, pronounce)
        self.searchers = self._build_searchers()

    def restricted(self, output: str, active: Sequence[str]) -> "DualSpeech2Text":
        """Return a recogniser of one output with the same model.

        Args:
            output: the output.
            active: tasks that are active in the encoder, for a model with task vectors.
        """
        clone = self._only(requested_tasks(self.model, [output]))
        clone.active = active_tasks(self.model, clone.searched, {output: active})
        return clone

    def _only(self, outputs: Sequence[str]) -> "DualSpeech2Text":
        """Return a recogniser of these outputs with the same model."""
        clone = copy.copy(self)
        clone.outputs = list(outputs)
        clone.searched = searched_outputs(self.model, clone.outputs)
        clone.searchers = {name: self.searchers[name] for name in clone.searched}
        if clone.coupling is not None and not set(clone.coupling.outputs) <= set(clone.outputs):
            clone.coupling = None
        return clone

    def with_options(self, **options) -> "DualSpeech2Text":
        """Return a recogniser with the same model and other search options for all outputs."""
        clone = copy.copy(self)
        clone.options = {
            name: change_options(name, own_options, options)
            for name, own_options in self.options.items()
        }
        clone.searchers = clone._build_searchers()
        return clone
