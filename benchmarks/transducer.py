"""Speed of transducer search, compared with ESPnet's: `python benchmarks/transducer.py --help`.

Both use the same trained weights, audio and threads, and both times include the encoder. ESPnet
decodes one utterance at a time, with its `tsd` and its greedy search; an adapter gives it our
prediction network. Rounds are interleaved and n-best lists are compared. The scores of the greedy
searches are not comparable, as ESPnet only counts labels and ours also counts blanks: compare the
transcripts.
"""

import argparse
import functools
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(Path(__file__).parent)]

import torch  # noqa: E402
from decode import read_audio  # noqa: E402

DEFAULT_GAMMA = 10.0  # default of `expansion_gamma`
NBestLists = list[list[tuple[tuple[int, ...], float]]]  # per utterance: ids and score, best first


class EspnetPredictionAdapter:
    """Our prediction network with the interface of ESPnet's transducer decoders.

    As there, the output after each label sequence is computed once and cached.
    """

    def __init__(self, prediction: torch.nn.Module, vocab_size: int):
        self.prediction, self.odim, self.blank_id = prediction, vocab_size, 0
        self.dunits = prediction.output_size

    def set_device(self, device) -> None:
        self.device = device

    def init_state(self, count: int):
        return self.prediction.start(count)

    def select_state(self, states, index: int):
        return tuple(tensor[index : index + 1] for tensor in states)

    def score(self, hyp, cache):
        (out,), states, label = self.batch_score([hyp], hyp.dec_state, cache, True)
        return out, states, label

    def batch_score(self, hyps, _states, cache, use_lm: bool):
        last_labels = [hyp.yseq[-1] for hyp in hyps]
        sequences = [tuple(hyp.yseq) for hyp in hyps]
        new = [i for i, sequence in enumerate(sequences) if sequence not in cache]
        if new:
            states_before = tuple(
                torch.cat(tensors)
                for tensors in zip(*(hyps[i].dec_state for i in new), strict=True)
            )
            labels = torch.tensor([last_labels[i] for i in new], device=self.device)
            out, states_after = self.prediction.step(labels, states_before)
            for row, i in enumerate(new):
                cache[sequences[i]] = out[row : row + 1], self.select_state(states_after, row)
        cached = [cache[sequence] for sequence in sequences]
        states = tuple(
            torch.cat(tensors) for tensors in zip(*(state for _, state in cached), strict=True)
        )
        labels = torch.tensor(last_labels, device=self.device) if use_lm else None
        return torch.cat([out for out, _ in cached]), states, labels


def decode_by_espnet(model, output: str, waves: Sequence, **options) -> NBestLists:
    from espnet2.asr.transducer.beam_search_transducer import BeamSearchTransducer

    parts = model.heads[output].parts
    vocab_size = parts["joint"].lin_out.out_features
    decoder = EspnetPredictionAdapter(parts["prediction"], vocab_size)
    search = BeamSearchTransducer(decoder, parts["joint"], score_norm=False, **options)
    device = next(model.parameters()).device
    nbest_lists = []
    with torch.no_grad():
        for wave in waves:
            speech = torch.as_tensor(wave, dtype=torch.float32, device=device)[None]
            encoder_out, _ = model.encode(speech, torch.tensor([speech.size(1)])).shared()
            nbest = search(encoder_out[0])
            nbest = nbest if isinstance(nbest, list) else [nbest]
            nbest_lists.append([(tuple(hyp.yseq[1:]), float(hyp.score)) for hyp in nbest])
    return nbest_lists


def decode_by_us(recogniser, output: str, waves: Sequence) -> NBestLists:
    return [
        [(hypothesis.token_ids, hypothesis.score) for hypothesis in result.nbest[output]]
        for result in recogniser.batch(waves)
    ]


def differences(ours: NBestLists, others: NBestLists) -> dict[str, float]:
    """Return how many best hypotheses and n-best lists differ, and the largest score difference.

    Scores are compared where the n-best lists have the same tokens.
    """
    pairs = list(zip(ours, others, strict=True))
    equal = [(a, b) for a, b in pairs if [ids for ids, _ in a] == [ids for ids, _ in b]]
    score_differences = [
        abs(score - other_score)
        for a, b in equal
        for (_, score), (_, other_score) in zip(a, b, strict=True)
    ]
    return {
        "best differ": sum(a[0][0] != b[0][0] for a, b in pairs),
        "n best differ": len(pairs) - len(equal),
        "largest score difference": max(score_differences, default=0.0),
    }


def all_searches(
    options: argparse.Namespace, recogniser, output: str, waves: Sequence
) -> dict[str, dict[str, Callable[[], NBestLists]]]:
    """Return functions that decode `waves`, by group and name; in a group, "ours" is the first."""
    by_us = functools.partial(decode_by_us, output=output, waves=waves)
    by_espnet = functools.partial(decode_by_espnet, recogniser.model, output, waves)
    greedy = recogniser.with_options(greedy=True, nbest=1, max_symbols=1)
    return {
        "beam": {
            "ours": functools.partial(by_us, recogniser),
            f"ours, gamma {DEFAULT_GAMMA:g}": functools.partial(
                by_us, recogniser.with_options(expansion_gamma=DEFAULT_GAMMA)
            ),
            "espnet tsd": functools.partial(
                by_espnet,
                beam_size=options.beam_size,
                nbest=options.nbest,
                search_type="tsd",
                max_sym_exp=options.max_symbols + 1,
            ),
        },
        "greedy": {
            "ours": functools.partial(by_us, greedy),
            "espnet greedy": functools.partial(by_espnet, beam_size=1, nbest=1),
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0], allow_abbrev=False)
    parser.add_argument("--model_dir", required=True, help="a trained system with a transducer")
    parser.add_argument(
        "--data", type=Path, required=True, help="a dumped set, e.g. dump/raw/en/test"
    )
    parser.add_argument("--output", help="output to decode; default: the first transducer")
    parser.add_argument("--limit", type=int, default=32, help="number of utterances")
    parser.add_argument("--beam_size", type=int, default=5)
    parser.add_argument("--max_symbols", type=int, default=3, help="maximum labels per frame")
    parser.add_argument("--nbest", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=2, help="times that each search is timed")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", type=Path, help="file to write the numbers to")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    from espnet_ext.decoding.api import DualSpeech2Text

    recogniser = DualSpeech2Text.from_pretrained(
        options.model_dir,
        device=options.device,
        beam_size=options.beam_size,
        nbest=options.nbest,
        ctc_weight=0.0,
        max_symbols=options.max_symbols,
        normalize_length=False,
        expansion_gamma=0.0,
    )
    transducers = [
        name for name, head in recogniser.model.heads.items() if head.options.branch == "transducer"
    ]
    if not transducers or options.output not in (None, *transducers):
        parser.error(f"the system's transducers are: {', '.join(transducers) or 'none'}")
    output = options.output or transducers[0]
    recogniser = recogniser.restricted(output, [output])
    waves = read_audio(options.data, options.limit, recogniser.sample_rate)
    audio_seconds = sum(map(len, waves)) / recogniser.sample_rate
    facts: dict = {
        "utterances": len(waves),
        "load": os.getloadavg()[0],
        "options": vars(options),
    }
    print(f"{len(waves)} utterances, {audio_seconds:.0f} s of audio, output {output}")
    print("\n| search | s | ratio | best differ | n best differ | score difference |")
    print("|---|---|---|---|---|---|")
    for group, searches in all_searches(options, recogniser, output, waves).items():
        seconds: dict[str, list[float]] = {name: [] for name in searches}
        nbest_lists = {}
        searches["ours"]()  # the first call is slower
        for _ in range(options.rounds):
            for name, search in searches.items():
                start = time.perf_counter()
                nbest_lists[name] = search()
                seconds[name].append(time.perf_counter() - start)
        medians = {name: statistics.median(values) for name, values in seconds.items()}
        for name, median in medians.items():
            compared = differences(nbest_lists["ours"], nbest_lists[name])
            facts[f"{group}: {name}"] = {"seconds": seconds[name], **compared}
            print(
                f"| {group}: {name} | {median:.2f} | {median / medians['ours']:.2f} | "
                f"{compared['best differ']} | {compared['n best differ']} | "
                f"{compared['largest score difference']:.1e} |",
                flush=True,
            )
    if options.json:
        text = json.dumps(facts, indent=1, default=str)
        options.json.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
