"""Speed of systems with a pre-trained Whisper: `python benchmarks/pretrained.py COMMAND --help`.

- `train`: an epoch of fine-tuning, compared with the bare forward and backward pass of the same
  encoder in transformers.
- `decode`: all outputs of a system, compared with transformers' `generate` and faster-whisper,
  which read 30 s per utterance and return one transcript.
- `equality`: token ids of an unchanged Whisper in our search, compared with `generate`.

Everything runs on one thread. Seconds are CPU seconds of a process and its children, because other
programs may use the machine. The alternatives take turns after each batch, so that a change of the
machine's load affects all of them.
"""

import argparse
import contextlib
import json
import os
import platform
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any
from unittest import mock

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

OURS, TRANSFORMERS, FASTER_WHISPER = "ours", "transformers", "faster-whisper"
PROMPT = ("<|startoftranscript|>", "<|{}|>", "<|transcribe|>", "<|notimestamps|>")
END = "<|endoftext|>"
SAMPLE_RATE = 16000
Transcripts = dict[str, list[str]]  # output → text per utterance


@dataclass(frozen=True)
class Seconds:
    """Time of this process and of its finished children."""

    cpu: float
    wall: float

    @classmethod
    def now(cls) -> "Seconds":
        usages = [
            resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
        ]
        cpu = sum(usage.ru_utime + usage.ru_stime for usage in usages)
        return cls(cpu, time.perf_counter())

    def __add__(self, other: "Seconds") -> "Seconds":
        return Seconds(self.cpu + other.cpu, self.wall + other.wall)

    def __sub__(self, other: "Seconds") -> "Seconds":
        return Seconds(self.cpu - other.cpu, self.wall - other.wall)


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


def our_decoder(options: argparse.Namespace) -> Callable[[Sequence], Transcripts]:
    """Return a function that decodes all outputs of the trained system."""
    from espnet_ext.decoding.api import DualSpeech2Text

    recogniser = DualSpeech2Text.from_pretrained(
        options.model_dir,
        options.weights,
        precision=options.precision,
        beam_size=options.beam_size,
        batch_frames=10**6,  # the batches that are given
    )

    def decode(waves):
        results = recogniser.batch(waves)
        return {name: [result.best[name].text for result in results] for name in recogniser.outputs}

    return decode


def transformers_decoder(options: argparse.Namespace) -> Callable[[Sequence], Transcripts]:
    """Return a function that decodes with the unchanged Whisper and transformers' defaults."""
    import tokenizers
    import torch

    network, reader = load_transformers(options.pretrained)
    tokenizer = tokenizers.Tokenizer.from_file(str(options.pretrained / "tokenizer.json"))
    prompt = prompt_ids(tokenizer, options.language)
    dtype = {"bfloat16": torch.bfloat16}.get(options.precision, torch.float32)
    network = network.to(dtype)

    def decode(waves):
        feats = reader(list(waves), sampling_rate=SAMPLE_RATE, return_tensors="pt").input_features
        generated = network.generate(
            feats.to(dtype),
            decoder_input_ids=torch.tensor([prompt] * len(waves)),
            num_beams=options.beam_size,
            do_sample=False,
            max_new_tokens=network.config.max_target_positions - len(prompt),
        )
        return {"text": tokenizer.decode_batch(generated.tolist())}

    return decode


def load_transformers(checkpoint: Path) -> tuple[Any, Any]:
    """Return Whisper's network and feature extractor."""
    import transformers

    transformers.utils.logging.set_verbosity_error()
    network = transformers.WhisperForConditionalGeneration.from_pretrained(checkpoint)
    return network.eval(), transformers.WhisperFeatureExtractor.from_pretrained(checkpoint)


def prompt_ids(tokenizer: Any, language: str) -> list[int]:
    """Return the token ids that Whisper's decoder starts with."""
    return [tokenizer.token_to_id(token.format(language)) for token in PROMPT]


def faster_whisper_decoder(options: argparse.Namespace) -> Callable[[Sequence], Transcripts]:
    """Return a function that decodes with faster-whisper, without its repetitions of a decoding."""
    from faster_whisper import WhisperModel

    compute_type = {"bfloat16": "bfloat16"}.get(options.precision, "float32")
    if options.only.endswith("int8"):
        compute_type = "int8"
    network = WhisperModel(
        str(options.ctranslate2), device="cpu", cpu_threads=1, compute_type=compute_type
    )

    def decode(waves):
        texts = []
        for wave in waves:
            segments, _ = network.transcribe(
                wave,
                language=options.language,
                beam_size=options.beam_size,
                temperature=0.0,
                without_timestamps=True,
                condition_on_previous_text=False,
            )
            texts.append("".join(segment.text for segment in segments))
        return {"text": texts}

    return decode


DECODERS = {
    OURS: our_decoder,
    TRANSFORMERS: transformers_decoder,
    FASTER_WHISPER: faster_whisper_decoder,
    f"{FASTER_WHISPER} int8": faster_whisper_decoder,
}


def serve(options: argparse.Namespace) -> None:
    """Decode the batches whose numbers are read from the standard input.

    Writes a line of JSON when the decoder is ready, and one per batch.
    """
    sys.stdout, answers = sys.stderr, sys.stdout  # libraries print too
    waves, _ = read_utterances(options)
    decode = DECODERS[options.only](options)
    decode(waves[-1:])  # the first call is slower
    print("{}", file=answers, flush=True)
    for line in sys.stdin:
        first = int(line) * options.batch_size
        start = Seconds.now()
        transcripts = decode(waves[first : first + options.batch_size])
        seconds = Seconds.now() - start
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        answer = {"transcripts": transcripts, "MiB": peak, **vars(seconds)}
        print(json.dumps(answer), file=answers, flush=True)


class Worker:
    """A process that decodes batches with one decoder."""

    def __init__(self, name: str, options: argparse.Namespace):
        environment = dict(os.environ)
        if name.startswith(FASTER_WHISPER) and options.faster_whisper:
            paths = [str(options.faster_whisper), environment.get("PYTHONPATH", "")]
            environment["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
        self._process = subprocess.Popen(
            [sys.executable, *sys.argv, "--only", name],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._answer()

    def decode(self, batch: int) -> dict:
        assert self._process.stdin is not None
        print(batch, file=self._process.stdin, flush=True)
        return self._answer()

    def _answer(self) -> dict:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            sys.exit(f"error: a decoder ended with exit code {self._process.wait()}")
        return json.loads(line)

    def close(self) -> None:
        self._process.communicate()


def read_utterances(options: argparse.Namespace) -> tuple[list, dict[str, list[str]]]:
    """Return samples (S,) of the first utterances of a set, longest first, and their references."""
    from espnet_ext.data.audio import load_audio
    from espnet_ext.data.table import read_table

    sources = read_table(options.data / "wav.scp")
    loaded = {
        utt: load_audio(sources[utt], SAMPLE_RATE)[0] for utt in sorted(sources)[: options.limit]
    }
    ids = sorted(loaded, key=lambda utt: -len(loaded[utt]))
    references = {
        path.suffix[1:]: [table[utt] for utt in ids]
        for path in options.data.glob("text.*")
        if (table := read_table(path))
    }
    return [loaded[utt].astype("float32") for utt in ids], references


def measure_decoding(options: argparse.Namespace) -> dict:
    """Decode with all decoders in turn; print and return times, memory and error rates."""
    if options.only:
        serve(options)
        sys.exit()
    waves, references = read_utterances(options)
    names = [OURS, TRANSFORMERS]
    if options.ctranslate2:
        names += [name for name in DECODERS if name.startswith(FASTER_WHISPER)]
    workers = {name: Worker(name, options) for name in names}
    answers: dict[str, list[dict]] = {name: [] for name in names}
    for batch in range(-(-len(waves) // options.batch_size)):
        for name, worker in workers.items():
            answers[name].append(worker.decode(batch))
            print(f"batch {batch + 1}: {name}: {answers[name][-1]['cpu']:.2f} s", flush=True)
    for worker in workers.values():
        worker.close()
    report: dict = {"audio_seconds": sum(map(len, waves)) / SAMPLE_RATE, "decoders": {}}
    print(f"\n{len(waves)} utterances, {report['audio_seconds']:.0f} s of audio\n")
    print("| decoder | CPU s | ratio | elapsed s | MiB | errors |\n|---|---|---|---|---|---|")
    for name in names:
        row = report["decoders"][name] = {
            "cpu": sum(answer["cpu"] for answer in answers[name]),
            "wall": sum(answer["wall"] for answer in answers[name]),
            "MiB": max(answer["MiB"] for answer in answers[name]),
            "errors": error_rates(answers[name], references, options.text_output),
        }
        ratio = row["cpu"] / report["decoders"][OURS]["cpu"]
        rates = ", ".join(f"{rate} {value:.1f} %" for rate, value in row["errors"].items())
        print(
            f"| {name} | {row['cpu']:.2f} | {ratio:.2f} | {row['wall']:.1f} | {row['MiB']:.0f} | "
            f"{rates} |"
        )
    return report


def error_rates(
    answers: Sequence[Mapping], references: Mapping[str, Sequence[str]], text_output: str
) -> dict[str, float]:
    """Return the word error rate (PER for phones) by output, of texts without case and punctuation.

    Args:
        text_output: the output whose references the transcripts of other decoders are compared
            with.
    """
    from espnet_ext.scoring.counts import align_texts, count_all_edits

    rates = {}
    for output in answers[0]["transcripts"]:
        name = text_output if output == "text" else output
        texts = [plain(text) for answer in answers for text in answer["transcripts"][output]]
        expected = [plain(text) for text in references[name]]
        rate = count_all_edits(align_texts(expected, texts, "wer")).rate
        assert rate is not None
        rates[name] = rate
    return rates


def plain(text: str) -> str:
    """Return a text in lower case without punctuation.

    >>> plain(" Gad, your letter came!")
    'gad your letter came'
    """
    return " ".join(re.sub(r"[^\w' ]+", " ", text.lower()).split())


def measure_equality(options: argparse.Namespace) -> dict:
    """Compare token ids and times of our search and of transformers; print and return them.

    Both read 30 s with the same unchanged Whisper, and score the same tokens.
    """
    import tokenizers
    import torch
    import transformers

    from espnet_ext.decoding.options import SearchOptions
    from espnet_ext.decoding.search import build_searcher
    from espnet_ext.model.build import build_model
    from espnet_ext.text.tokenizers import BLANK, SOS_EOS, UNK

    tokenizer = tokenizers.Tokenizer.from_file(str(options.pretrained / "tokenizer.json"))
    end = tokenizer.token_to_id(END)
    tokens = [tokenizer.id_to_token(i) for i in range(end)]
    model_conf = {"model": str(options.pretrained)}
    output = {
        "branch": "attention",
        "attention_weight": 1.0,
        "token_type": "hugging_face",
        "token_list": [BLANK, UNK, *tokens, SOS_EOS],
    }
    model = build_model(
        {
            "frontend": "pretrained",
            "frontend_conf": {**model_conf, "window": "30s"},
            "encoder": "pretrained",
            "encoder_conf": model_conf,
            "decoder": "pretrained",
            "decoder_conf": {**model_conf, "language": options.language},
            "outputs": {"text": output},
        }
    ).eval()
    search = build_searcher(
        model.heads["text"],
        SearchOptions(
            beam_size=options.beam_size,
            normalize_length=True,
            maxlenratio=-options.max_tokens,
            end_detect=False,
        ),
    )
    network, reader = load_transformers(options.pretrained)
    prompt = prompt_ids(tokenizer, options.language)

    class SameVocabulary(transformers.LogitsProcessor):
        """Restrict scores to our tokens; blank and unk have the mean of all embeddings."""

        def __call__(self, input_ids, scores):  # (N, V')
            extra = scores[:, :end].mean(-1, keepdim=True)
            kept = scores[:, : end + 1]  # text and <|endoftext|>
            total = torch.cat([kept, extra, extra], -1).logsumexp(-1, keepdim=True)
            return torch.full_like(scores, -torch.inf).index_copy_(
                1, torch.arange(end + 1), kept - total
            )

    def by_us(waves):
        speech = [torch.from_numpy(wave) for wave in waves]
        lengths = torch.tensor([len(wave) for wave in waves])
        padded = torch.nn.utils.rnn.pad_sequence(speech, batch_first=True)
        states, frames = model.encode(padded, lengths).shared()
        return [[i - 2 for i in nbest[0].token_ids] for nbest in search(states, frames)]

    def by_transformers(waves):
        feats = reader(list(waves), sampling_rate=SAMPLE_RATE, return_tensors="pt").input_features
        generated = network.generate(
            feats,
            decoder_input_ids=torch.tensor([prompt] * len(waves)),
            num_beams=options.beam_size,
            do_sample=False,
            early_stopping="never",
            length_penalty=1.0,
            max_new_tokens=options.max_tokens,
            logits_processor=[SameVocabulary()],
        )
        rows = [row[row[: len(prompt)] == prompt and len(prompt) :] for row in generated.tolist()]
        return [row[: row.index(end)] if end in row else row for row in rows]

    waves, _ = read_utterances(options)
    seconds = {OURS: Seconds(0.0, 0.0), TRANSFORMERS: Seconds(0.0, 0.0)}
    different = []
    with torch.no_grad():
        for first in range(0, len(waves), options.batch_size):
            batch = waves[first : first + options.batch_size]
            hypotheses = []
            for name, decode in ((OURS, by_us), (TRANSFORMERS, by_transformers)):
                start = Seconds.now()
                hypotheses.append(decode(batch))
                seconds[name] += Seconds.now() - start
            different += [pair for pair in zip(*hypotheses, strict=True) if pair[0] != pair[1]]
    print(f"{len(different)} of {len(waves)} hypotheses differ in their token ids")
    for pair in different:
        print("  " + " | ".join(repr(tokenizer.decode(ids)) for ids in pair))
    for name, value in seconds.items():
        print(f"{name}: {value.cpu:.2f} CPU s ({value.cpu / seconds[OURS].cpu:.2f} times ours)")
    return {
        "utterances": len(waves),
        "different": len(different),
        "seconds": {name: vars(value) for name, value in seconds.items()},
    }


def machine() -> dict:
    """Return facts about this machine and the versions of the software."""
    model = [
        line for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line
    ]
    return {
        "cpu": model[0].partition(":")[2].strip() if model else platform.processor(),
        "cpus": os.cpu_count(),
        **{name: metadata.version(name) for name in ("torch", "transformers")},
        "python": platform.python_version(),
        "load": os.getloadavg()[0],
    }


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0], allow_abbrev=False)
    parser.add_argument("--json", type=Path, help="file to write the numbers to")
    commands = parser.add_subparsers(dest="command", required=True)
    train = commands.add_parser("train", help="an epoch of fine-tuning")
    train.set_defaults(measure=measure_training)
    train.add_argument("--pretrained", type=Path, required=True, help="folder of a Whisper")
    train.add_argument(
        "--data_dir", type=Path, required=True, help="dumped sets train and valid of one language"
    )
    train.add_argument(
        "--token_dir", type=Path, required=True, help="folder with <output>_<type>/tokens.txt"
    )
    train.add_argument("--config", type=Path, default=ROOT / "conf/train_whisper_base.yaml")
    train.add_argument("--output", default="surface")
    train.add_argument("--token_type", default="phone")
    train.add_argument("--limit", type=int, default=80, help="number of utterances")
    train.add_argument("--valid_limit", type=int, default=10, help="utterances of the validation")
    train.add_argument("--epochs", type=int, default=4)
    decode = commands.add_parser("decode", help="decoding of all outputs")
    decode.set_defaults(measure=measure_decoding)
    decode.add_argument("--model_dir", type=Path, required=True, help="a fine-tuned system")
    decode.add_argument("--weights", default="model.pth", help="weights file in --model_dir")
    decode.add_argument("--ctranslate2", type=Path, help="Whisper in the format of CTranslate2")
    decode.add_argument(
        "--faster_whisper", type=Path, help="folder in which faster-whisper is installed"
    )
    decode.add_argument("--precision", default="float32", choices=("float32", "bfloat16"))
    decode.add_argument(
        "--text_output", default="meaning", help="output that Whisper's text is compared with"
    )
    decode.add_argument("--only", help=argparse.SUPPRESS)  # for the processes of the decoders
    equality = commands.add_parser("equality", help="token ids of an unchanged Whisper")
    equality.set_defaults(measure=measure_equality)
    equality.add_argument("--max_tokens", type=int, default=60)
    for command in (decode, equality):
        command.add_argument(
            "--pretrained", type=Path, required=True, help="folder of the unchanged Whisper"
        )
        command.add_argument("--data", type=Path, required=True, help="a dumped set")
        command.add_argument("--limit", type=int, default=48, help="number of utterances")
        command.add_argument("--batch_size", type=int, default=16)
        command.add_argument("--beam_size", type=int, default=5)
        command.add_argument("--language", default="en")
    return parser.parse_args()


def main() -> None:
    options = parse_options()
    os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported
    measure: Callable[[argparse.Namespace], dict] = options.measure
    report = measure(options)
    report |= {"machine": machine(), "options": vars(options)}
    print(report["machine"])
    if options.json:
        text = json.dumps(report, indent=1, default=str)
        options.json.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
