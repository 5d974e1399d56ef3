"""Linear probes: what a linear classifier reads from each encoder layer."""

from collections.abc import Mapping
from typing import Any

from espnet_ext.analysis import definition
from espnet_ext.analysis.definition import Analysis, Output, Result
from espnet_ext.document import Item, Point, Section, interval, number, speaker_caveats

OUTPUT_LAYER = "output"  # the encoder output, where outputs share the last block
TASKS = {
    "surface": "surface tokens",
    "meaning": "meaning tokens",
    "deviates": "whether a surface token deviates from the canonical one",
    "l1": "first language",
    "speaker": "speaker",
}
ACCURACY = Output(
    "Probe accuracy by layer",
    "Balanced accuracy (mean recall over classes, in percent) of a linear classifier of one "
    "encoder layer.",
)
VALUES = Output(
    "Linear probes",
    "Balanced accuracy in percent. The control is the accuracy for random labels that are fixed "
    "per token and the one before it: what a probe can memorise. “Without encoder” predicts a "
    "token from the one before it, and a deviation from the token and the one before it.",
)


LEVEL = 0.05  # significance level of a task, over all its layers


def run(models: Mapping[str, str], data: str, train: str, **options: Any) -> Result:
    """Fit and test a probe per task, system and layer (`computation.encoder_probes`)."""
    from espnet_ext.analysis.computation.encoder_probes import probe_encoders

    return probe_encoders(models, data, train, **options)


def section(result: Mapping[str, Any]) -> Section:
    """Return a curve and a table for each task."""
    figures: list[Item] = []
    tables: list[Item] = []
    for task, about in result["tasks"].items():
        rows = [row for row in result["rows"] if row["task"] == task]
        names = dict.fromkeys(row["layer"] for row in rows)
        layers = sorted(names, key=lambda name: name == OUTPUT_LAYER)
        systems = list(dict.fromkeys(map(encoder_name, rows)))
        by_key = {(encoder_name(row), row["layer"]): row for row in rows}
        series = {
            system: [
                Point(x, by_key[system, layer]["accuracy"] if (system, layer) in by_key else None)
                for x, layer in enumerate(layers)
            ]
            for system in systems
        }
        if rows:
            series["chance"] = [Point(x, rows[0]["chance"]) for x in range(len(layers))]
        figures.append(
            ACCURACY.figure(
                "lines",
                series,
                about=TASKS.get(task, task),
                x_label="encoder layer",
                y_label="balanced accuracy %",
                ticks=layers,
                y_range=(0.0, 100.0),
            )
        )
        counts = (
            f"{about['classes']} classes, chance {number(rows[0]['chance'] if rows else 0.0)} %; "
            f"{about['train']} training and {about['test']} test examples"
        )
        if about.get("aligned_by"):
            counts += f"; token times from the CTC of {about['aligned_by']}"
        tables.append(
            VALUES.table(
                ["encoder of", *layers],
                [[s, *(_accuracy(by_key.get((s, layer))) for layer in layers)] for s in systems],
                about=TASKS.get(task, task),
                caveats=[counts, *speaker_caveats(about.get("speakers"))],
                details=True,
            )
        )
    texts = {task: _finding(result, task) for task in result["tasks"]}
    small = [task for task in texts if _is_too_small(result, task)]
    return Section(
        "Linear probes of the encoders",
        [text for task, text in texts.items() if task not in small],
        figures + tables,
        [*result["notes"], *(texts[task] for task in small)],
        topic="models",
    )


def encoder_name(row: Mapping) -> str:
    """Return the system of a row, with the output if the encoder output serves only this one."""
    return " ".join(filter(None, [row["system"], row.get("output")]))


def _accuracy(row: Mapping | None) -> str:
    if row is None:
        return "–"
    bounds = f" [{interval(row['interval'])}]" if row["interval"] else ""
    control = "" if row["control"] is None else f", control {number(row['control'])}"
    if row.get("context") is not None:
        control += f", without encoder {number(row['context'])}"
    return f"{number(row['accuracy'])}{bounds}{control}"


def _finding(result: Mapping, task: str) -> str:
    rows = [row for row in result["rows"] if row["task"] == task]
    last = {encoder_name(row): row for row in rows}  # rows are in the order of the layers
    ranked = sorted(last.values(), key=lambda row: -row["accuracy"])
    order = ", ".join(f"{encoder_name(row)} {number(row['accuracy'])} %" for row in ranked)
    about = result["tasks"][task]
    chance = f"chance {number(rows[0]['chance'])} %, {about['test']} test examples" if rows else ""
    text = f"Last layer, {TASKS.get(task, task)}: {order} ({chance})."
    at_chance = [encoder_name(row) for row in ranked if not _above_chance(row, about, len(rows))]
    if not any(_above_chance(row, about, len(rows)) for row in rows):
        text += " No layer is shown to be above chance."
    elif at_chance:
        text += f" Not shown to be above chance: {', '.join(at_chance)}."
    elif all((row.get("context") or 0.0) >= row["accuracy"] for row in rows):
        text += (
            " The tokens predict it at least as well without an encoder, so this shows nothing "
            "about the encoders."
        )
    elif all(row["selectivity"] is not None and row["selectivity"] <= 0 for row in rows):
        text += (
            " Random labels are learned as well, so the probe may have memorised pairs of tokens."
        )
    return text


def _above_chance(row: Mapping, about: Mapping, comparisons: int) -> bool:
    """Return whether the accuracy is shown to be above chance.

    The interval over speakers must exclude chance. As examples may be few, a binomial test must
    reject chance too, after Bonferroni's correction for all layers of the task.
    """
    from scipy.stats import binomtest  # slow to import

    low = row["interval"][0] if row["interval"] else row["accuracy"]
    count = int(about.get("effective_test", about["test"]))
    correct = int(row["accuracy"] / 100 * count + 1e-6)  # rounded down; 1e-6 is for rounding errors
    p_value = binomtest(correct, count, row["chance"] / 100, "greater").pvalue if count else 1.0
    return low > row["chance"] and p_value * comparisons < LEVEL


def _is_too_small(result: Mapping, task: str) -> bool:
    """Return whether not even an accuracy half-way from chance to 100 % would be above chance."""
    rows = [row for row in result["rows"] if row["task"] == task]
    row = {"accuracy": (rows[0]["chance"] + 100) / 2, "interval": None} if rows else {}
    return bool(rows) and not _above_chance({**rows[0], **row}, result["tasks"][task], len(rows))


ANALYSIS = Analysis(
    name="probes",
    description="what linear probes read from each encoder layer",
    inputs=[definition.MODELS, definition.DATA, definition.TRAINING_DATA],
    options=[definition.max_utterances(500), definition.max_train(500)],
    outputs=[ACCURACY, VALUES],
    run=run,
    section=section,
    result_files=["analysis/probes.json"],
    min_systems=2,
    uses_device=True,
    plain_heads=True,
)
