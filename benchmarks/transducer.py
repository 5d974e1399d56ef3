"""How fast a transducer decodes beside ESPnet's searches: `python benchmarks/transducer.py --help`.

The same trained weights, audio and threads; encoding is part of all. ESPnet decodes one utterance
at a time (`tsd`, and its greedy search); its search reads our prediction network, of any kind, by
the interface of its own. Rounds are interleaved, and the n best are compared. (ESPnet's greedy
search scores labels alone, ours blanks too: there the transcripts are what to compare.)
"""

import argparse
import functools
import json
import os
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(Path(__file__).parent)]

import torch  # noqa: E402
from decode import read_audio  # noqa: E402

GAMMA = 10.0  # expansion_gamma that decoding has unless told otherwise
Found = list[list[tuple[tuple[int, ...], float]]]  # ids and score of the n best of each utterance


class Peer:
    """A prediction network as ESPnet's searches want one; what a label sequence gave is kept."""

    def __init__(self, prediction: torch.nn.Module, vocabulary: int):
        self.network, self.odim, self.blank_id = prediction, vocabulary, 0
        self.dunits = prediction.output_size

    def set_device(self, device) -> None:
        self.device = device

    def init_state(self, count: int):
        return self.network.start(count)

    def select_state(self, states, index: int):
        return tuple(part[index : index + 1] for part in states)

    def score(self, hyp, cache):
        (out,), states, label = self.batch_score([hyp], hyp.dec_state, cache, True)
        return out, states, label

    def batch_score(self, hyps, _states, cache, use_lm: bool):
        last = [hyp.yseq[-1] for hyp in hyps]
        keys = [tuple(hyp.yseq) for hyp in hyps]
        new = [i for i, key in enumerate(keys) if key not in cache]
        if new:
            before = [
                torch.cat(parts) for parts in zip(*(hyps[i].dec_state for i in new), strict=True)
            ]
            labels = torch.tensor([last[i] for i in new], device=self.device)
            out, after = self.network.step(labels, tuple(before))
            for place, i in enumerate(new):
                cache[keys[i]] = out[place : place + 1], self.select_state(after, place)
        known = [cache[key] for key in keys]
        states = tuple(torch.cat(parts) for parts in zip(*(s for _, s in known), strict=True))
        labels = torch.tensor(last, device=self.device) if use_lm else None
        return torch.cat([out for out, _ in known]), states, labels


def by_espnet(model, output: str, waves: Sequence, **options) -> Found:
    from espnet2.asr.transducer.beam_search_transducer import BeamSearchTransducer

    parts = model.branches[output].parts
    peer = Peer(parts["prediction"], parts["joint"].lin_out.out_features)
    search = BeamSearchTransducer(peer, parts["joint"], score_norm=False, **options)
    found = []
    with torch.no_grad():
        for wave in waves:
            samples = torch.as_tensor(wave, dtype=torch.float32, device=model_device(model))[None]
            states, _ = model.encode(samples, torch.tensor([samples.size(1)]))
            nbest = search(states[0])
            nbest = nbest if isinstance(nbest, list) else [nbest]
            found.append([(tuple(hyp.yseq[1:]), float(hyp.score)) for hyp in nbest])
    return found


def by_us(recognise, output: str, waves: Sequence) -> Found:
    return [
        [(hyp.token_ids, hyp.score) for hyp in result.nbest[output]]
        for result in recognise.batch(waves)
    ]


def model_device(model) -> torch.device:
    return next(model.parameters()).device


def differences(ours: Found, theirs: Found) -> dict[str, float]:
    """Utterances whose best, or whose n best, differ, and the largest difference of scores."""
    pairs = list(zip(ours, theirs, strict=True))
    equal = [
        (one, other) for one, other in pairs if [ids for ids, _ in one] == [ids for ids, _ in other]
    ]
    return {
        "best differ": sum(one[0][0] != other[0][0] for one, other in pairs),
        "n best differ": len(pairs) - len(equal),
        "largest score difference": max(
            (abs(a[1] - b[1]) for one, other in equal for a, b in zip(one, other, strict=True)),
            default=0.0,
        ),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0], allow_abbrev=False)
    parser.add_argument("--model_dir", required=True, help="a trained system with a transducer")
    parser.add_argument("--data", required=True, help="a dumped set, e.g. dump/raw/en/test")
    parser.add_argument("--output", help="of the system; the first transducer unless given")
    parser.add_argument("--limit", type=int, default=32, help="utterances")
    parser.add_argument("--beam_size", type=int, default=5)
    parser.add_argument("--max_symbols", type=int, default=3, help="labels a frame")
    parser.add_argument("--nbest", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    from espnet_ext.decoding.api import DualSpeech2Text

    shared = {
        "beam_size": options.beam_size,
        "nbest": options.nbest,
        "ctc_weight": 0.0,
        "max_symbols": options.max_symbols,
        "normalize_length": False,
    }
    exact = DualSpeech2Text.from_pretrained(
        options.model_dir, device=options.device, **shared, expansion_gamma=0.0
    )
    model = exact.model
    names = [name for name, branch in model.branches.items() if "joint" in branch.parts]
    if (options.output or (names or [None])[0]) not in names:
        parser.error(f"transducers of this system: {', '.join(names) or 'none'}")
    output = options.output or names[0]
    exact = exact.restricted(output, [output])
    waves = read_audio(Path(options.data), options.limit, exact.sample_rate)
    search = {
        "beam_size": options.beam_size,
        "nbest": options.nbest,
        "search_type": "tsd",
        "max_sym_exp": options.max_symbols + 1,
    }
    greedy = {"greedy": True, "nbest": 1, "max_symbols": 1}
    groups = {  # ours first: what the others are compared with
        "beam": {
            "ours": functools.partial(by_us, exact, output, waves),
            "ours, gamma 10": functools.partial(
                by_us, exact.with_options(expansion_gamma=GAMMA), output, waves
            ),
            "espnet tsd": functools.partial(by_espnet, model, output, waves, **search),
        },
        "greedy": {
            "ours": functools.partial(by_us, exact.with_options(**greedy), output, waves),
            "espnet greedy": functools.partial(
                by_espnet, model, output, waves, beam_size=1, nbest=1
            ),
        },
    }
    facts: dict = {
        "utterances": len(waves),
        "load": os.getloadavg()[0],
        "options": {key: str(value) for key, value in vars(options).items()},
    }
    print(f"{len(waves)} utterances, {sum(map(len, waves)) / exact.sample_rate:.0f} s of {output}")
    print("\n| search | s | ratio | best differ | n best differ | score difference |")
    print("|---|---|---|---|---|---|")
    for group, ways in groups.items():
        times: dict[str, list[float]] = {name: [] for name in ways}
        found = {}
        ways["ours"]()  # warm
        for _ in range(options.rounds):
            for name, run in ways.items():
                start = time.perf_counter()
                found[name] = run()
                times[name].append(time.perf_counter() - start)
        medians = {name: statistics.median(values) for name, values in times.items()}
        for name, value in medians.items():
            other = differences(found["ours"], found[name])
            facts[f"{group}: {name}"] = {"seconds": times[name], **other}
            print(
                f"| {group}: {name} | {value:.2f} | {value / medians['ours']:.2f} | "
                f"{other['best differ']} | {other['n best differ']} | "
                f"{other['largest score difference']:.1e} |",
                flush=True,
            )
    if options.json:
        options.json.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
