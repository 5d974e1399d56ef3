"""Decoding of a system beside transformers' `generate` and faster-whisper.

Every decoder has a process of its own, so that its memory can be measured.
"""

import argparse
import json
import os
import re
import resource
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence

from benchmarks.pretrained_whisper.common import (
    FASTER_WHISPER,
    OURS,
    SAMPLE_RATE,
    TRANSFORMERS,
    Seconds,
    load_transformers,
    prompt_ids,
    read_utterances,
)

Transcripts = dict[str, list[str]]  # output → text per utterance


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
