"""Small grids of trainings with made-up results, as files and as arrays."""

import json
from pathlib import Path

import numpy as np
import yaml

from espnet_ext.study.collect import KIND, VERSION
from espnet_ext.study.design import analysis_file, folder_of, read_study

SYSTEMS = {
    "so_surface": ["surface"],
    "so_meaning": ["meaning"],
    "do": ["surface", "meaning"],
    "do_meaning_ctc": ["surface", "meaning"],
}
DESIGN = {
    "recipe": "egs2/mini_l2/dual1",
    "languages": ["ko", "en"],
    "systems": list(SYSTEMS),
    "seeds": [0, 1],
    "shares": [1.0, 0.5],
    "conditions": {"normal": "", "fewer": "--error_level 0.4"},
    "batches_per_epoch": {"ko": 190, "en": 240},
    "minutes": {"ko": 4, "en": 5},
    "similarity": ["so_surface", "so_meaning", "do"],
    "comparisons": [
        {
            "name": "joint_surface",
            "a": "so_surface",
            "b": "do",
            "output": "surface",
            "question": "does the surface gain",
            "primary": True,
            "meaning_ctc": 0,
        },
        {
            "name": "joint_meaning",
            "a": "so_meaning",
            "b": "do_meaning_ctc",
            "output": "meaning",
            "question": "does the meaning gain",
            "primary": True,
            "meaning_ctc": 1,
        },
        {
            "name": "joint_meaning_attention",
            "a": "so_meaning",
            "b": "do",
            "output": "meaning",
            "question": "does the meaning gain without CTC",
            "meaning_ctc": 0,
        },
    ],
}


def write_design(folder, **changes):
    """Write study.yaml and return its path."""
    path = Path(folder) / "study.yaml"
    path.write_text(yaml.safe_dump({**DESIGN, **changes}, sort_keys=False), encoding="utf-8")
    return path


def study_of(folder, **changes):
    return read_study(write_design(folder, **changes))


def write_json(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8")


def write_cell(root, cell, study, sets=("valid",)):
    """Write the files of a training that `collect` reads. It has 1 error in 4 tokens."""
    folder = folder_of(root, cell)
    outputs = {name: {"ctc_weight": 0.2, "token_list": "x"} for name in SYSTEMS[cell.system]}
    configuration = {
        "seed": cell.seed,
        "num_iters_per_epoch": study.batches_per_epoch[cell.language],
        "optim": "adamw",
        "outputs": outputs,
    }
    data = {f"train text.{name}": f"{cell.language} {cell.share}" for name in outputs}
    write_json(folder / "trained_with.json", {"configuration": configuration, "data": data})
    record = {"seconds": 10.0, "parameters": 5, "max_epoch": 5, "provenance": {"commit": "c"}}
    write_json(folder / "train.json", record)
    for dset in sets:
        decoded = folder / "decode" / dset
        options = {name: {"beam_size": 10} for name in outputs}
        write_json(
            decoded / "decode.json",
            {
                "failed": 0,
                "weights": "model.pth",
                "options": options,
                "coupling": None,
                "canonical": None,
            },
        )
        texts = {"surface": "궁물 맛", "canonical": "궁물 맏", "meaning": "국물 맛"}
        rows = [
            {
                "id": f"{speaker}-{number}",
                "speaker": speaker,
                "l1": "en",
                "texts": texts,
                "hypotheses": {},
                "cells": {f"{name}-{name}": {"errors": 1, "tokens": 4} for name in outputs},
            }
            for speaker in ("s1", "s2", "s3")
            for number in range(2)
        ]
        sha256 = f"{dset} {cell.condition} {cell.language}"
        types = {"surface": "char", "meaning": "char"}
        write_json(
            decoded / "utterances.json",
            {"token_types": types, "data_sha256": sha256, "utterances": rows},
        )
        write_json(decoded / "score.json", {})
    return folder


def write_similarity(root, setting, seed, pairs):
    """Write the CKA of pairs of models: (a, b, ceiling) → value."""
    rows = [
        {
            "a": a,
            "b": b + ("~twin" if ceiling else ""),
            "ceiling": ceiling,
            "curve": [{"layer": "0", "debiased": 0.99}, {"layer": "1", "debiased": value}],
        }
        for (a, b, ceiling), value in pairs.items()
    ]
    write_json(analysis_file(root, setting, seed, "cka"), {"pairs": rows})


def made_up(study, rate, *, dset="valid", speakers=16, tokens=250, seed=0, cosine=None):
    """Return the content of cells.json with Poisson errors.

    Args:
        rate: (cell, output) → error rate in percent, per speaker or one for all.
        cosine: cell → mean cosine of the gradients.
    """
    rng = np.random.default_rng(seed)
    names = [f"s{number}" for number in range(speakers)]
    cells, data = [], {}
    for cell in study.cells():
        key = f"{dset} {cell.condition} {cell.language}"
        level = 12.0 if cell.condition == "normal" else 5.0
        data[key] = {
            "sha256": key,
            "speakers": names,
            "l1": [None] * speakers,
            "learner_pair": "surface-canonical",
            "learner": [level + number / 4 for number in range(speakers)],
            "tokens": {
                output: {"0": [tokens // 5] * speakers, "1-3": [tokens - tokens // 5] * speakers}
                for output in ("surface", "meaning")
            },
        }
        errors = {}
        for output in SYSTEMS[cell.system]:
            rates = np.broadcast_to(np.asarray(rate(cell, output), dtype=float), (speakers,))
            errors[output] = {
                name: rng.poisson(rates / 100 * np.array(values)).tolist()
                for name, values in data[key]["tokens"][output].items()
            }
        training = {"seconds": 1.0, "parameters": 5, "updates": 950, "commit": "c"}
        training["gradient_cosine"] = cosine(cell) if cosine else None
        row = {"condition": cell.condition, "language": cell.language, "share": cell.share}
        row |= {"seed": cell.seed, "system": cell.system, "set": dset}
        cells.append({**row, "errors": errors, "training": training})
    return {
        "kind": KIND,
        "version": VERSION,
        "title": study.title,
        "data": data,
        "cells": cells,
        "similarity": [],
        "missing": [],
    }
