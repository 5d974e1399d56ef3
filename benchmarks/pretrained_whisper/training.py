"""Time of fine-tuning Whisper's encoder, beside the bare forward and backward pass."""

import argparse
import contextlib
import json
import statistics
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

from benchmarks.pretrained_whisper.common import Seconds


class TrainingClock:
    """Times the parts of each epoch of a training, and the bare encoder after each batch.

    Args:
        checkpoint: folder of the bare encoder.

    Attributes:
        epochs: per epoch, part → time. Parts are `train`, `validate`, `save`, `bare`.
    """

    def __init__(self, checkpoint: str):
        self.checkpoint = checkpoint
        self.epochs: list[dict[str, Seconds]] = []
        self.bare: BareEncoder | None = None
        self._validated: Seconds | None = None  # when the last validation ended

    @contextlib.contextmanager
    def watch(self) -> Iterator[None]:
        """Time the trainings that run while the context is open."""
        from espnet_ext.training.trainer import DualOutputTrainer as Trainer

        train, validate = Trainer.train_one_epoch, Trainer.validate_one_epoch

        def timed_train(model, iterator, **arguments):
            self._end_epoch()
            self.bare = self.bare or BareEncoder(self.checkpoint, model)
            alternating = _Alternating(iterator, self.bare)
            start = Seconds.now()
            result = train(model=model, iterator=alternating, **arguments)
            total = Seconds.now() - start
            self.epochs.append({"train": total - alternating.elapsed, "bare": alternating.bare})
            return result

        def timed_validate(*arguments, **keywords):
            start = Seconds.now()
            validate(*arguments, **keywords)
            self._validated = Seconds.now()
            self.epochs[-1]["validate"] = self._validated - start

        with (
            mock.patch.object(Trainer, "train_one_epoch", timed_train),
            mock.patch.object(Trainer, "validate_one_epoch", timed_validate),
        ):
            yield
        self._end_epoch()

    def _end_epoch(self) -> None:
        """Count the time since the last validation as saving."""
        if self._validated is not None:
            self.epochs[-1]["save"] = Seconds.now() - self._validated
            self._validated = None


class _Alternating:
    """The batches of an iterator; the bare encoder is run after the training step of each.

    Attributes:
        bare: time of the bare encoder.
        elapsed: the same with the preparation of its input.
    """

    def __init__(self, iterator: Any, encoder: "BareEncoder"):
        self._iterator, self._encoder = iterator, encoder
        self.bare = self.elapsed = Seconds(0.0, 0.0)

    def __len__(self) -> int:
        return len(self._iterator)

    def __iter__(self) -> Iterator:
        for ids, batch in self._iterator:
            yield ids, batch
            start = Seconds.now()
            self.bare += self._encoder.step(batch["speech"], batch["speech_lengths"])
            self.elapsed += Seconds.now() - start


class BareEncoder:
    """transformers' Whisper encoder with the features, dropout and precision of a model of ours."""

    def __init__(self, checkpoint: str, model: Any):
        import torch
        import transformers

        network = transformers.WhisperModel.from_pretrained(checkpoint, dtype=torch.float32)
        self.encoder = network.encoder.train()
        self.positions = self.encoder.embed_positions.weight.detach()
        self.encoder.dropout = model.encoder.dropout
        for layer in self.encoder.layers:
            layer.dropout = model.encoder.dropout
        self.frontend = model.frontend
        self.dtype = model.autocast_dtype

    def step(self, speech: Any, lengths: Any) -> Seconds:
        """Return the time of a forward and backward pass, without features and optimizer.

        Args:
            speech: (B, S) samples; lengths: (B,).
        """
        import torch

        with torch.no_grad():
            feats = self.frontend(speech, lengths)[0].transpose(1, 2)  # (B, M, F)
        feats = torch.nn.functional.pad(feats, (0, feats.size(2) % 2))
        frames = feats.size(2) // 2
        self.encoder.config.max_source_positions = frames
        positions = self.positions[:frames]
        self.encoder.embed_positions = torch.nn.Embedding.from_pretrained(positions)
        start = Seconds.now()
        with torch.autocast("cpu", self.dtype, enabled=self.dtype is not None):
            states = self.encoder(feats).last_hidden_state
        states.float().square().mean().backward()
        self.encoder.zero_grad()
        return Seconds.now() - start


def write_subset(source: Path, target: Path, limit: int) -> float:
    """Write the first `limit` utterances of a dumped set. Return their duration in seconds."""
    from espnet_ext.data.audio import audio_info
    from espnet_ext.data.table import read_table, write_table

    ids = sorted(read_table(source / "wav.scp"))[:limit]
    target.mkdir(parents=True)
    for path in [source / "wav.scp", *source.glob("text.*"), *source.glob("utt2lang")]:
        table = read_table(path)
        write_table(target / path.name, {utt_id: table[utt_id] for utt_id in ids})
    infos = [audio_info(path) for path in read_table(target / "wav.scp").values()]
    return sum(info.frames / info.rate for info in infos)


def run_command(*words: object) -> None:
    """Run `python -m espnet_ext.bin.main` in this process."""
    from espnet_ext.bin import main

    code = main.main([str(word) for word in words])
    if code:
        sys.exit(code)


def measure_training(options: argparse.Namespace) -> dict:
    """Train a CTC head on Whisper's encoder; print and return the times of its epochs."""
    clock = TrainingClock(str(options.pretrained))
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        audio_seconds = write_subset(
            options.data_dir / "train", folder / "dump/train", options.limit
        )
        write_subset(options.data_dir / "valid", folder / "dump/valid", options.valid_limit)
        system = {options.output: {"branch": "ctc", "ctc_weight": 1.0}}
        (folder / "system.yaml").write_text(
            json.dumps({"outputs": system, "best_model_criterion": [["valid", "loss", "min"]]})
        )
        common = [
            *("train", "--config", options.config, "--pretrained", options.pretrained),
            *("--data_dir", folder / "dump", "--token_dir", options.token_dir),
            *("--outputs", f"{options.output}={options.token_type}"),
            *("--stats_dir", folder / "stats", "--threads", 1),
        ]
        run_command(*common, "--collect_stats", "true")
        with clock.watch():
            run_command(
                *(*common, "--system", folder / "system.yaml", "--exp_dir", folder / "exp", "--"),
                *("--max_epoch", options.epochs, "--finetune_conf", "freeze_epochs=0"),
            )
    report_training(clock.epochs, audio_seconds)
    assert clock.bare is not None
    return {
        "audio_seconds": audio_seconds,
        "precision": str(clock.bare.dtype or "float32").removeprefix("torch."),
        "epochs": [
            {part: vars(seconds) for part, seconds in epoch.items()} for epoch in clock.epochs
        ],
    }


def report_training(epochs: Sequence[dict[str, Seconds]], audio_seconds: float) -> None:
    """Print a table of the epochs."""
    print(f"\n{audio_seconds:.0f} s of audio per epoch; CPU seconds (elapsed seconds)\n")
    print("| epoch | training | validation | saving | bare | ratio |\n|---|---|---|---|---|---|")
    for number, epoch in enumerate(epochs, 1):
        cells = [
            f"{epoch[part].cpu:.2f} ({epoch[part].wall:.1f})"
            for part in ("train", "validate", "save", "bare")
        ]
        ratio = epoch["train"].cpu / epoch["bare"].cpu
        print(f"| {number} | {' | '.join(cells)} | {ratio:.3f} |")
    warm = epochs[1:] or epochs  # in the first epoch, oneDNN compiles its kernels
    ratios = [epoch["train"].cpu / epoch["bare"].cpu for epoch in warm]
    print(f"median ratio after the first epoch: {statistics.median(ratios):.3f}")
