"""A small experiment folder as the pipeline leaves it: real scores of made-up texts."""

import dataclasses
import json
import random
import struct
import wave
from pathlib import Path

from espnet_ext.analysis.registry import ANALYSES
from espnet_ext.provenance import provenance
from espnet_ext.scoring.score import score_directory

KOREAN = [
    ("국물이 맛있어요", "궁무리 마시써요", "궁물이 마시서요"),
    ("저는 학교에 가요", "저는 학꾜에 가요", "저는 하교에 가요"),
    ("친구를 만났어요", "친구를 만나써요", "친구를 만나써요"),
    ("날씨가 정말 좋네요", "날씨가 정말 존네요", "날시가 청말 존네요"),
    ("사과를 먹고 싶어요", "사과를 먹꼬 시퍼요", "사가를 멋고 시포요"),
    ("오늘은 일찍 일어났어요", "오느른 일찍 이러나써요", "오느른 인직 이러나서요"),
]
ENGLISH = [
    ("i live here", "AY L IH V HH IH R", "AY L IY B HH IH R"),
    ("think about it", "TH IH NG K AH B AW T IH T", "S IH NG K AH B AW T IH T"),
    ("very good", "V EH R IY G UH D", "B EH R IY G UH D"),
    ("the zoo is closed", "DH AH Z UW IH Z K L OW Z D", "D AH JH UW IH JH K L OW JH D AH"),
    ("a full bus", "AH F UH L B AH S", "AH P UH L B AH S"),
    ("he plays", "HH IY P L EY Z", "HH IY P L EY Z"),
]
LEXICON = """
i AY
live L IH V
here HH IH R
think TH IH NG K
about AH B AW T
it IH T
very V EH R IY
good G UH D
the DH AH
zoo Z UW
is IH Z
closed K L OW Z D
a AH
full F UH L
bus B AH S
he HH IY
plays P L EY Z
"""
TYPES = {
    "ko": {"surface": "char", "meaning": "char"},
    "en": {"surface": "phone", "meaning": "char"},
}
SYSTEMS = {"so_surface": ["surface"], "so_meaning": ["meaning"], "do": ["surface", "meaning"]}


def judge(data: Path, out: Path, lang: str, lexicon: Path) -> None:
    """mdd.json, and without a prompt too where words were recognised."""
    unit = "phone" if lang == "en" else "jamo"
    texts = {
        "canonical": str(data / "text.canonical"),
        "perceived": str(data / "text.surface"),
        "hypothesis": str(out / "text.surface"),
    }
    if not all(Path(path).exists() for path in texts.values()):
        return
    ways: dict[str, dict] = {"mdd": {}}
    if (out / "text.meaning").exists():
        ways["mdd_no_prompt"] = {"meaning": out / "text.meaning", "lexicon": lexicon}
    for name, further in ways.items():
        spoken = {**texts, "unit": unit, "utt2spk": data / "utt2spk", **further}
        result = ANALYSES["mdd"].result(**spoken)
        (out / f"{name}.json").write_text(json.dumps(result))


def write_result(path: Path, numbers: dict) -> None:
    """Write a result file with the tables of its analysis, as if it had been run."""
    analysis = dataclasses.replace(ANALYSES[numbers["kind"]], run=lambda: numbers)
    value = {**analysis.result(), "provenance": provenance("analyze", [numbers["kind"]])}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")


def table(path: Path, rows: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(f"{key} {value}".rstrip() + "\n" for key, value in sorted(rows.items()))
    path.write_text(text, encoding="utf-8")


def tone(path: Path, seconds: float, pitch: float) -> None:
    import math

    path.parent.mkdir(parents=True, exist_ok=True)
    values = [int(6000 * math.sin(i * pitch / 16000 * 6.283)) for i in range(int(16000 * seconds))]
    with wave.open(str(path), "wb") as handle:
        handle.setnchannels(1)
        handle.setsampwidth(2)
        handle.setframerate(16000)
        handle.writeframes(struct.pack(f"<{len(values)}h", *values))


def noisy(text: str, phones: bool, rate: float, generator: random.Random) -> str:
    """A hypothesis: some tokens dropped, doubled or exchanged."""
    tokens = text.split() if phones else list(text)
    recognised = []
    for token in tokens:
        draw = generator.random()
        if draw < rate / 3:
            continue
        recognised.append(generator.choice(tokens) if draw < rate else token)
        if rate < draw < 1.2 * rate:
            recognised.append(token)
    return " ".join(recognised) if phones else "".join(recognised).strip()


def make(
    root: Path, systems=tuple(SYSTEMS), languages=("ko", "en"), extra=None, audio=True
) -> Path:
    """Write dump/raw and exp below `root`, and return it. `extra` replaces the first meaning."""
    generator = random.Random(3)
    (root / "lexicon.txt").write_text(LEXICON, encoding="utf-8")
    for lang in languages:
        sentences = KOREAN if lang == "ko" else ENGLISH
        rows: dict[str, dict[str, str]] = {"meaning": {}, "canonical": {}, "surface": {}}
        speakers, sounds = {}, {}
        for s, l1 in enumerate(["vi", "zh", "th", "ja"]):
            for number, (meaning, canonical, surface) in enumerate(sentences):
                utt = f"{lang}{l1}{s}-{number:02}"
                speakers[utt] = f"{lang}{l1}{s}"
                spoken = surface if (number + s) % 3 else canonical
                values = (extra if extra and number == 1 else meaning, canonical, spoken)
                for kind, value in zip(rows, values, strict=True):
                    rows[kind][utt] = value
                sounds[utt] = str(root / f"audio/{utt}.wav")
                if audio:
                    tone(Path(sounds[utt]), 0.3, 200 + 20 * s)
        rows["surface"][next(iter(speakers))] = "<na>"
        for name in ("train", "test"):
            data = root / "dump/raw" / lang / name
            table(data / "wav.scp", sounds)
            table(data / "utt2spk", speakers)
            table(data / "utt2l1", {u: u[2:4] for u in speakers})
            table(data / "utt2dur", {u: "0.30" for u in speakers})
            for kind, values in rows.items():
                table(data / f"text.{kind}", values)
        for number, system in enumerate(systems):
            folder = root / "exp" / lang / f"{system}_small"
            out = folder / "decode/test"
            for output in SYSTEMS[system]:
                phones = TYPES[lang][output] == "phone"
                rate = 0.05 + 0.03 * number
                recognised = {
                    # English words stay words, so that the lexicon below knows them.
                    u: noisy(v if v != "<na>" else "", phones or lang == "en", rate, generator)
                    for u, v in rows[output].items()
                }
                table(out / f"text.{output}", recognised)
            score_directory(
                data,
                out,
                TYPES[lang],
                resamples=200,
                lexicon=root / "lexicon.txt",
                provenance=provenance("score", ["--data", str(data), "--hypotheses", str(out)]),
            )
            judge(data, out, lang, root / "lexicon.txt")
            training = {
                "parameters": 2612345 + 500000 * number,
                "epochs": 30,
                "seconds": 151.2,
                "command": f"python -m espnet_ext.training --system {system}",
            }
            (folder / "train.json").write_text(json.dumps(training))
            outputs = {output: {"branch": "ctc"} for output in SYSTEMS[system]}
            config = {"max_epoch": 30, "optim_conf": {"lr": 0.001}, "outputs": outputs}
            (folder / "config.yaml").write_text(json.dumps(config))
            options = {output: {"beam_size": 4} for output in SYSTEMS[system]}
            decode = {"rtf": 0.0312, "audio_seconds": 7.2, "seconds": 0.22, "options": options}
            (out / "decode.json").write_text(json.dumps(decode))
        for system in systems:
            if SYSTEMS[system] != ["meaning"]:  # that one was trained without
                path = root / "exp" / lang / f"{system}_small/diagnostics.jsonl"
                write_diagnostics(path, SYSTEMS[system], generator)
        write_cka(root / "exp" / lang / "analysis/cka.json", systems, generator)
        write_probes(root / "exp" / lang / "analysis/probes.json", systems, generator)
        scored = {x: root / "exp" / lang / f"{x}_small/decode/test" for x in systems}
        result = ANALYSES["cross"].run(scored, lexicon=root / "lexicon.txt")
        write_result(root / "exp" / lang / "analysis/cross_test.json", result)
    return root


# Cosine of gradients per layer at the end of a made-up training
COSINES = {"embed": 0.31, "0": 0.42, "1": 0.0, "2": -0.05, "all": 0.2}


def write_diagnostics(path: Path, outputs: list[str], generator: random.Random) -> None:
    """Twenty steps of which the last quarter's mean is COSINES, and one without a label."""
    lines = []
    for number in range(20):
        joint, known = len(outputs) > 1, number != 7
        wobble = (0.02, -0.02, 0.01, -0.01, 0.0)[number % 5]
        cosine = {layer: value + wobble if known else None for layer, value in COSINES.items()}
        norms = {output: dict.fromkeys(COSINES, 1.5 + generator.random()) for output in outputs}
        drift = {layer: 1 - 0.01 * number * (i + 1) for i, layer in enumerate(list(COSINES)[:-1])}
        pair = {"a": outputs[0], "b": outputs[-1]}
        decoders = [{**pair, "utterances": 60, "layers": {"0": 0.5, "1": -0.125}}]
        lines.append(
            {
                "step": 50 * number,
                "epoch": 1 + number // 5,
                "notes": [],
                "gradients": {"labelled": {}, "norms": norms, "pairs": [{**pair, "cosine": cosine}]}
                if joint
                else None,
                "cka": {
                    "utterances": 64,
                    "frames": 2048,
                    "since": 0,
                    "drift": drift,
                    "decoders": decoders if joint else [],
                },
            }
        )
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def write_cka(path: Path, systems, generator: random.Random) -> None:
    layers = ["embed", "0", "1", "2", "3"]
    pairs, decoders = [], []
    for i, a in enumerate(systems):
        for b in systems[i + 1 :]:
            pairs.append(
                {
                    "a": a,
                    "b": b,
                    "ceiling": False,
                    "rows": "frames",
                    **similarity(layers, generator),
                }
            )
            decoders += [
                {
                    "a": a,
                    "output_a": "surface",
                    "b": b,
                    "output_b": "surface",
                    "ceiling": False,
                    "how": how,
                    "rows": rows,
                    **similarity(layers[:3], generator),
                }
                for how, rows in (
                    ("teacher-forced", "utterances"),
                    ("free-running", "utterances"),
                    ("teacher-forced", "tokens"),
                )
            ]
    twin = {"a": systems[0], "b": f"{systems[0]}~twin", "ceiling": True, "rows": "frames"}
    models = {
        s: {"directory": f"exp/{path.parts[-3]}/{s}_small", "layers": layers, "twin_of": None}
        for s in systems
    }
    models[twin["b"]] = {"directory": "elsewhere", "layers": layers, "twin_of": systems[0]}
    everything = [
        {"system": s, "output": o, "layer": n}
        for s in systems
        for o in ("", "surface")
        for n in layers[:3]
    ]
    grid = [[generator.random() for _ in everything] for _ in everything]
    value = {
        "kind": "cka",
        "version": 2,
        "measure": "linear CKA",
        "data": "dump/raw/xx/test",
        "utterances": 24,
        "frames": 181234,
        "speakers": 3,
        "groups": 3,
        "models": models,
        "pairs": [*pairs, {**twin, **similarity(layers, generator)}],
        "decoders": decoders,
        "everything": {"utterances": 24, "layers": everything, "cka": grid, "debiased": grid},
        "sampled": {"rows": 500, "permutations": 20},
        "notes": ["do has no decoder of x <y>"],
    }
    write_result(path, value)


def similarity(layers, generator: random.Random) -> dict:
    size = range(len(layers))
    grid = [
        [max(0.05, 0.95 - 0.14 * abs(x - y) - 0.1 * max(x, y) * generator.random()) for y in size]
        for x in size
    ]
    null = {"mean": 0.01, "highest": 0.02, "p_value": 0.05}
    curve = [
        {
            "layer": layer,
            "cka": grid[x][x],
            "debiased": grid[x][x] - 0.01,
            "interval": [grid[x][x] - 0.05, grid[x][x] + 0.04],
            "measures": {
                "cka": {"value": grid[x][x], "interval": None, "null": null},
                "rsa": {"value": 0.4, "interval": [0.3, 0.5], "null": null},
                "svcca": {"value": None, "interval": None, "null": None},
            },
        }
        for x, layer in enumerate(layers)
    ]
    return {"grid": grid, "debiased": grid, "curve": curve, "only_a": [], "only_b": []}


def models_of(path: Path, systems) -> dict:
    return {s: {"directory": f"exp/{path.parts[-3]}/{s}_small"} for s in systems}


def write_probes(path: Path, systems, generator: random.Random) -> None:
    rows = [
        {
            "task": task,
            "system": system,
            "layer": layer,
            "accuracy": 60 + 20 * generator.random(),
            "interval": [50.0, 90.0],
            "control": control,
            "selectivity": 80 - control,
            "chance": 2.5,
        }
        for task, control in (("surface", 30.0), ("deviates", 90.0))
        for system in systems
        for layer in ("embed", "0")
    ]
    about = {"classes": 40, "train": 900, "test": 300, "left_out": 3, "speakers": 4}
    about["aligned_by"] = systems[0]
    value = {
        "kind": "probes",
        "version": 1,
        "train": "t",
        "data": "d",
        "rows": rows,
        "models": models_of(path, systems),
        "tasks": {"surface": about, "deviates": about},
        "notes": ["l1 is not probed: x"],
    }
    write_result(path, value)


def write_swaps(path: Path, systems) -> None:
    a, b = systems[:2]
    rates = {
        (b, a, "unswapped"): 5.0,
        (a, a, "unswapped"): 5.0,
        (b, a, "direct"): 90.0,
        (b, a, "stitched"): 6.0,
        (a, b, "unswapped"): 4.0,
        (b, b, "unswapped"): 4.0,
        (a, b, "direct"): 80.0,
        (a, b, "stitched"): 40.0,
    }
    rows = [
        {
            "encoder": e,
            "decoder": d,
            "output": "surface",
            "connection": connection,
            "rate": rate,
            "interval": [rate - 2, rate + 2],
            "r2": 0.8 if connection == "stitched" else None,
        }
        for (e, d, connection), rate in rates.items()
    ]
    value = {
        "kind": "swaps",
        "version": 2,
        "data": "d",
        "utterances": 40,
        "train_utterances": 300,
        "speakers": 4,
        "models": models_of(path, systems),
        "metric": {"surface": "per"},
        "rows": rows,
    }
    write_result(path, value)


FEATURES = {
    "kind": "features",
    "version": 1,
    "rows": [
        {
            "system": "do",
            "features": 24,
            "mean": 0.8,
            "stable": 0.625,
            "random_mean": 0.4,
            "random_stable": 0.0,
        }
    ],
    "without_twin": ["so_surface"],
}
VECTORS = {
    "kind": "vectors",
    "version": 2,
    "data": "dump/raw/ko/test",
    "utterances": 24,
    "speakers": 4,
    "models": {"do": {"directory": "exp/ko/do_small"}},
    "systems": [
        {
            "system": "do",
            "mode": "per_task_sum",
            "places": [
                {
                    "place": "features",
                    "labels": ["never", "surface", "meaning"],
                    "trained": [False, True, True],
                    "norms": [9.0, 3.0, 4.0],
                    "history": {
                        "epochs": [1, 2, 3],
                        "norms": {
                            "never": [777.5, 777.5, 777.5],
                            "surface": [1.0, 2.0, 3.0],
                            "meaning": [2.0, 4.0, 4.0],
                        },
                    },
                    "states": 50.5,
                    "cosine": [[1.0, 0.5, 0.5], [0.5, 1.0, -0.25], [0.5, -0.25, 1.0]],
                    "points": [None, [2.5, 0.0], [-2.5, 0.0]],
                    "explained": [1.0, 0.0],
                }
            ],
            "leakage": [
                {
                    "tag": "meaning.l1",
                    "active": ["surface", "meaning"],
                    "trained": True,
                    "utterances": 24,
                    "emitted": 3,
                    "share": 12.5,
                    "emitted_on": 18,
                    "share_on": 75.0,
                }
            ],
            "off": [
                {
                    "output": "surface",
                    "active": ["meaning"],
                    "trained": False,
                    "utterances": 24,
                    "metric": "cer",
                    "rate_on": 5.0,
                    "rate_off": 25.0,
                    "interval": [15.0, 26.0],
                }
            ],
        }
    ],
}
