"""Decoders on other systems' encoders: where does it sit that systems do not fit together?

An output's branch of one system is run on the encoder states of another, as they are (`direct`) and
through a linear map (`stitched`; Lenc & Vedaldi, 2015; Bansal et al., 2021) that is fitted to
training speech by ridge regression, in closed form. What a stitch mends was a matter of
coordinates; what it does not mend, the other encoder does not hold.

`swap` returns, and `analyze swaps` writes::

    {"kind": "swaps", "version": 1, "data", "utterances", "train_utterances", "speakers",
     "models": {name: {"directory"}}, "metric": {output: …},
     "rows": [{"encoder": "so_meaning", "decoder": "so_surface", "output": "surface",
               "way": "own" | "direct" | "stitched", "rate", "interval", "r2": float | null}]}

`r2`: the share of the decoder's own states' variance that the stitch gets right, on the data.
Legend: N frames, D and E widths of the two encoders.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import torch

from espnet_ext.analysis.computation.hidden_states import require_finite
from espnet_ext.analysis.computation.layer_similarity import common_rate
from espnet_ext.analysis.computation.sampling import choose
from espnet_ext.data.audio import load_utterance
from espnet_ext.data.directory import read_directory
from espnet_ext.data.record import NA, Utterance
from espnet_ext.decoding.api import DualSpeech2Text
from espnet_ext.errors import UserError
from espnet_ext.model.encoding import EncoderRequest
from espnet_ext.progress import track
from espnet_ext.scoring import bootstrap
from espnet_ext.scoring.counts import align_texts, count_edits

RIDGE = 1e-4  # of the mean variance of an input
METRICS = {"phone": "per", "word": "wer"}  # of an output's token type; the others count characters


class Stitch:
    """A linear map between the states of two encoders, from streamed moments in float64."""

    def __init__(self) -> None:
        self.own = self.cross = None

    def add(self, inputs: torch.Tensor, targets: torch.Tensor) -> None:
        """The same frames of both: (N, D) and (N, E)."""
        x = _with_one(inputs.double())
        own, cross = x.T @ x, x.T @ targets.double()
        self.own = own if self.own is None else self.own + own
        self.cross = cross if self.cross is None else self.cross + cross

    def solve(self) -> torch.Tensor:
        """The map (D + 1, E), its last row added to every frame."""
        size = len(self.own) - 1
        penalty = torch.full((size + 1,), float(self.own.diagonal()[:size].mean()) * RIDGE)
        penalty[size] = 0.0  # not of the constant
        return torch.linalg.solve(self.own + torch.diag(penalty.double()), self.cross)


def _with_one(x: torch.Tensor) -> torch.Tensor:
    return torch.cat([x, x.new_ones(*x.shape[:-1], 1)], -1)


def stitched(states: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """States (…, D) through a map (D + 1, E)."""
    return (_with_one(states.double()) @ weights).to(states.dtype)


def swap(
    model_dirs: Mapping[str, str],
    data: str | Path,
    train: str | Path,
    options: Mapping,
    *,
    max_utterances: int = 100,
    max_train: int = 500,
    batch_size: int = 16,
    device: str = "cpu",
) -> dict:
    """Error rates of every branch on every encoder; the module says what is returned.

    Args:
        model_dirs: systems by name, two or more; data: with references; train: for the stitches.
        options: search options, as for decoding.
    """
    systems = {
        name: DualSpeech2Text.from_pretrained(folder, device=device, **options)
        for name, folder in model_dirs.items()
    }
    common_rate(systems)
    learnt = _chosen(train, max_train)
    fitted = _stitches(systems, learnt, batch_size)
    tested = _chosen(data, max_utterances)
    work = _Swaps(systems, fitted)
    for batch in track(list(_batches(tested, batch_size)), "swapping encoders", unit="batch"):
        work.add(batch)
    return {
        "kind": "swaps",
        "version": 1,
        "data": str(data),
        "utterances": len(tested),
        "train_utterances": len(learnt),
        "speakers": len({u.speaker for u in tested}),
        "models": {name: {"directory": str(folder)} for name, folder in model_dirs.items()},
        "metric": work.metrics,
        "rows": work.rows(tested),
    }


def _chosen(folder: str | Path, limit: int) -> list[Utterance]:
    utterances = {u.utt_id: u for u in read_directory(folder)}
    if not utterances:
        raise UserError(f"{folder}: no utterances", "give a data directory that is not empty")
    return [utterances[i] for i in choose(list(utterances), limit)]


def _batches(utterances: Sequence[Utterance], size: int) -> Iterator[Sequence[Utterance]]:
    for start in range(0, len(utterances), size):
        yield utterances[start : start + size]


def _states(
    systems: Mapping[str, DualSpeech2Text], batch: Sequence[Utterance]
) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """Encoder states (B, T, D) of every system, and the frames (B,) that they agree on."""
    rate = next(iter(systems.values())).sample_rate
    waves = [torch.from_numpy(load_utterance(u, rate)[0]) for u in batch]
    lengths = torch.tensor([len(wave) for wave in waves])
    speech = torch.nn.utils.rnn.pad_sequence(waves, batch_first=True)
    found, agreed = {}, None
    for name, system in systems.items():
        with torch.inference_mode():
            states, frames = system.model.encode(
                speech.to(system.device),
                lengths.to(system.device),
                EncoderRequest(batch_invariant=True),
            ).shared()
        require_finite(
            {"the last": states}, frames.cpu(), f"the encoder of {name}", [u.utt_id for u in batch]
        )
        agreed = frames.cpu() if agreed is None else agreed
        if frames.tolist() != agreed.tolist():
            raise UserError(
                f"{name} makes other numbers of encoder frames than {next(iter(systems))}",
                "compare systems with the same frontend and subsampling",
            )
        found[name] = states
    return found, agreed


def _inside(states: torch.Tensor, frames: torch.Tensor) -> torch.Tensor:
    """The real frames of a batch: (N, D)."""
    return states[torch.arange(states.size(1)) < frames.unsqueeze(1)]


def _stitches(systems, utterances, batch_size) -> dict[tuple[str, str], torch.Tensor]:
    """(encoder, decoder's own encoder) → the map from the one's states to the other's."""
    pairs = [(a, b) for a in systems for b in systems if a != b]
    fits = {pair: Stitch() for pair in pairs}
    for batch in track(list(_batches(utterances, batch_size)), "fitting stitches", unit="batch"):
        states, frames = _states(systems, batch)
        own = {name: _inside(value.cpu(), frames) for name, value in states.items()}
        for (a, b), fit in fits.items():
            fit.add(own[a], own[b])
    return {pair: fit.solve() for pair, fit in fits.items()}


def _variance(missed: float, count: int, total, squares) -> tuple[float, float]:
    """Σ missed², and Σ |x − mean|² of N frames from Σ x and Σ |x|²."""
    if not count:
        return 0.0, 0.0
    return missed, float(squares - total.square().sum() / count)


class _Swaps:
    """What every branch writes on every encoder."""

    def __init__(self, systems: Mapping[str, DualSpeech2Text], fitted: Mapping):
        self.systems, self.fitted = systems, fitted
        self.texts: dict[tuple[str, str, str, str], dict[str, str]] = {}
        # of the decoder's own states: Σ missed², N, Σ x, Σ |x|²
        self.variance: dict[tuple[str, str], tuple] = {}
        branches = {n: b for s in systems.values() for n, b in s.model.heads.items()}
        self.metrics = {n: METRICS.get(b.options.token_type, "cer") for n, b in branches.items()}

    def add(self, batch: Sequence[Utterance]) -> None:
        states, frames = _states(self.systems, batch)
        for decoder, encoder in ((b, a) for b in self.systems for a in self.systems):
            if decoder == encoder:
                self._decode(batch, encoder, decoder, "own", states[encoder], frames)
                continue
            if states[encoder].size(-1) == states[decoder].size(-1):
                self._decode(batch, encoder, decoder, "direct", states[encoder], frames)
            mapped = stitched(states[encoder].cpu(), self.fitted[encoder, decoder])
            own = _inside(states[decoder].cpu(), frames).double()
            missed = (_inside(mapped, frames).double() - own).square().sum()
            before = self.variance.get((encoder, decoder), (0.0, 0, 0.0, 0.0))
            self.variance[encoder, decoder] = tuple(
                old + new
                for old, new in zip(
                    before, (float(missed), len(own), own.sum(0), own.square().sum()), strict=True
                )
            )
            mapped = mapped.to(states[encoder])
            self._decode(batch, encoder, decoder, "stitched", mapped, frames)

    def _decode(self, batch, encoder, decoder, way, states, frames) -> None:
        system = self.systems[decoder]
        for name, search in system.searchers.items():
            written = self.texts.setdefault((encoder, decoder, name, way), {})
            tokens = system.model.heads[name].tokens
            for utterance, nbest in zip(batch, search(states, frames), strict=True):
                ids = nbest[0].token_ids if nbest else ()
                text = system.tokenizers[name].decode([tokens[i] for i in ids])
                written[utterance.utt_id] = text

    def rows(self, utterances: Sequence[Utterance]) -> list[dict]:
        found = []
        for (encoder, decoder, name, way), written in self.texts.items():
            said = [u for u in utterances if u.texts.get(name, NA) != NA]
            if not said:
                continue
            columns = align_texts(
                [u.texts[name] for u in said],
                [written[u.utt_id] for u in said],
                self.metrics[name],
            )
            sums: dict[str, list[int]] = {}
            for utterance, letters in zip(said, columns, strict=True):
                counts = count_edits(letters)
                both = sums.setdefault(utterance.speaker, [0, 0])
                both[0] += counts.errors
                both[1] += counts.tokens
            errors, tokens = (list(column) for column in zip(*sums.values(), strict=True))
            missed, whole = _variance(*self.variance.get((encoder, decoder), (0.0, 0, 0.0, 0.0)))
            found.append(
                {
                    "encoder": encoder,
                    "decoder": decoder,
                    "output": name,
                    "way": way,
                    "rate": 100.0 * sum(errors) / sum(tokens) if sum(tokens) else None,
                    "interval": bootstrap.interval(errors, tokens),
                    "r2": 1.0 - missed / whole if way == "stitched" and whole else None,
                }
            )
        return found
