"""The report of a study: sections with tables, as data (root module `document`)."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from espnet_ext.document import (
    Section,
    Table,
    number,
    p_value,
    signed,
    signed_interval,
    speaker_caveats,
)
from espnet_ext.errors import UserError
from espnet_ext.study import simulation
from espnet_ext.study.design import OUTPUTS, Comparison, Setting, Study
from espnet_ext.study.effects import FEW_SPEAKERS, Effect
from espnet_ext.study.mechanism import PREDICTORS, correlations, points
from espnet_ext.study.regression import Fit, divergence_pairs, fit, regression_rows
from espnet_ext.study.results import FAMILIES, LEVEL, Results, Row, planned_rows

DIFFERENCE = "Errors of b minus errors of a, in percentage points, with a 95 % interval"
SEVERAL_SEEDS = (
    "over speakers and seeds. p: t test over speakers and seeds; permutation: exchange of the "
    "systems per speaker. Both are corrected by Holm's method over the family."
)
ONE_SEED = (
    "over speakers only: a system was trained once, so it says nothing about other seeds, and "
    "there is no t test (p). Permutation: exchange of the systems per speaker, corrected by Holm's "
    "method over the family."
)


def sections(study: Study, results: Results) -> list[Section]:
    """Return all sections of the report."""
    rows = planned_rows(study, results)
    return [
        _state(study, results, rows),
        *(_family(family, [row for row in rows if row.family == family]) for family in FAMILIES),
        _by_divergence(study, results),
        *by_first_language(study, results),
        _rates(study, results),
        _regression(study, results),
        _mechanism(study, results),
        power_section(study, results),
        _cost(study, results),
    ]


def _state(study: Study, results: Results, rows: Sequence[Row]) -> Section:
    """Return what was run, and the confirmed differences in one sentence each."""
    findings = [_sentence(row) for row in rows if row.family == "primary"]
    missing = [text for text in results.content["missing"] if text.endswith(f"({results.dset})")]
    cells = len(study.cells())
    notes = []
    if results.content.get("quick"):
        findings = []  # it concludes nothing
        notes.append("A few utterances and updates (--quick true): the numbers mean nothing.")
    notes += [
        f"{cells - len(missing)} of {cells} trainings have results on the set {results.dset}.",
    ]
    commits = sorted(
        {str(cell["training"]["commit"]) for cell in results.content["cells"]} or {"unknown"}
    )
    notes.append(f"Commits of the trainings: {', '.join(commits)}.")
    notes += [f"{note}." for note in results.content.get("notes", ())]
    if missing:
        counts = Counter(", ".join(text.split(", ")[:3]) for text in missing)  # per setting
        listed = "; ".join(f"{setting} ({count})" for setting, count in counts.items())
        notes.append(f"Trainings without results: {listed}. Tests without results count as p = 1.")
    return Section("Main comparisons", findings=findings, notes=notes)


def _sentence(row: Row) -> str:
    """Return in one sentence what a primary comparison shows."""
    where = f"{row.setting.language}: {row.comparison.question} ({row.comparison.name})"
    effect = row.effect
    if effect is None:
        return f"{where}: no results."
    change = f"{number(effect.rate_a)} → {number(effect.rate_b)} %"
    size = f"{signed(effect.difference)} points"
    bounds = f"[{signed_interval(effect.interval)}]" if effect.interval else "without an interval"
    if effect.p_value is None:
        return (
            f"{where}: {change}, {size} {bounds}. With one training per system this says nothing "
            "about other seeds."
        )
    if row.is_confirmed:
        verdict = "confirmed for other speakers and seeds"
    else:
        verdict = "no difference is shown"
    p = f"{_p(row.p_holm)}, permutation {_p(row.p_permutation_holm)}, corrected"
    return f"{where}: {change}, {size} {bounds}; {verdict} ({p})."


def _p(value: float | None) -> str:
    text = p_value(value)
    return f"p {text}" if text.startswith("<") else f"p = {text}"


def _family(family: str, rows: Sequence[Row]) -> Section:
    header = ["setting", "output", "b − a", "a %", "b %", "difference", "interval"]
    header += ["p (Holm)", "permutation p (Holm)", "seeds", "speakers"]
    cells = []
    for row in rows:
        effect, comparison = row.effect, row.comparison
        if effect is None:
            continue
        difference = signed(effect.difference)
        cells.append(
            [
                *(str(row.setting), comparison.output, f"{comparison.b} − {comparison.a}"),
                number(effect.rate_a),
                number(effect.rate_b),
                f"**{difference}**" if row.is_confirmed else difference,
                signed_interval(effect.interval),
                p_value(row.p_holm),
                p_value(row.p_permutation_holm),
                f"{effect.seeds[0]}, {effect.seeds[1]}",
                str(effect.speakers),
            ]
        )
    effects = [row.effect for row in rows if row.effect]
    caveats = speaker_caveats(min(effect.speakers for effect in effects)) if effects else []
    sentence = _difference_sentence(effects)
    table = Table(f"Differences, {family} family", sentence, header, cells, 3, caveats)
    tests = len(rows)
    confirmed = sum(row.is_confirmed for row in rows)
    finding = f"{confirmed} of {tests} planned tests are significant at {LEVEL} in both tests."
    missing = Counter(str(row.setting) for row in rows if row.effect is None)
    listed = "; ".join(f"{setting} ({count})" for setting, count in missing.items())
    notes = [f"Planned tests without results: {listed}."] if missing else []
    items = [table] if cells else []
    return Section(f"{family.capitalize()} family", findings=[finding], items=items, notes=notes)


def _difference_sentence(effects: Sequence[Effect]) -> str:
    """Return what the intervals and p values of these differences are over."""
    with_seeds = [min(effect.seeds) > 1 for effect in effects]
    if all(with_seeds):
        return f"{DIFFERENCE} {SEVERAL_SEEDS}"
    if not any(with_seeds):
        return f"{DIFFERENCE} {ONE_SEED}"
    return (
        f"{DIFFERENCE} {SEVERAL_SEEDS} Where a system was trained once (column seeds), the "
        "interval is over speakers only, and there is no t test."
    )


def _matched(study: Study) -> list[Comparison]:
    return [c for c in study.comparisons if c.meaning_ctc is not None]


def _by_divergence(study: Study, results: Results) -> Section:
    groups = [
        (setting, comparison, name, results.effect(comparison, setting, name), tokens.sum())
        for setting, comparison in _compared(study, results)
        for name in results.bins(setting, comparison.output)
        for tokens in [results.tokens(setting, comparison.output, name)]
    ]
    sentence = (
        "By edit distance between the references of an utterance, at full size. The intervals are "
        "not corrected for the number of bins, and are left out for fewer than "
        f"{FEW_SPEAKERS} speakers."
    )
    table = _table_of_groups("Differences by divergence", sentence, "divergence", groups)
    return Section("By divergence", items=[table])


def by_first_language(study: Study, results: Results) -> list[Section]:
    """Return the differences by first language.

    Empty unless the speakers have several, one of them with enough speakers for an interval.
    """
    groups = [
        (setting, comparison, l1, effect, tokens[chosen].sum())
        for setting, comparison in _compared(study, results)
        for l1s in [results.first_languages(setting)]
        if len(l1s) > 1 and max(chosen.sum() for chosen in l1s.values()) >= FEW_SPEAKERS
        for l1, chosen in l1s.items()
        for effect in [results.effect(comparison, setting, speakers=chosen)]
        for tokens in [results.tokens(setting, comparison.output)]
    ]
    if not groups:
        return []
    sentence = (
        "By first language of the speakers, at full size. The intervals are not corrected for the "
        f"number of languages, and are left out for fewer than {FEW_SPEAKERS} speakers."
    )
    title = "Differences by first language"
    table = _table_of_groups(title, sentence, "first language", groups)
    return [Section("By first language", items=[table])]


def _compared(study: Study, results: Results) -> Iterator[tuple[Setting, Comparison]]:
    """Yield the comparisons of systems with equal heads that have results at full size."""
    for setting in filter(study.is_primary, study.settings()):
        for comparison in _matched(study):
            if results.effect(comparison, setting) is not None:
                yield setting, comparison


def _table_of_groups(
    title: str,
    sentence: str,
    kind: str,
    groups: Sequence[tuple[Setting, Comparison, str, Effect | None, int]],
) -> Table:
    """Return a table with a row per group of utterances or speakers."""
    header = ["language", "output", "b − a", kind, "tokens", "speakers"]
    header += ["a %", "b %", "difference", "interval"]
    cells = [
        [
            *(setting.language, comparison.output),
            *(f"{comparison.b} − {comparison.a}", group, str(tokens), str(effect.speakers)),
            *(number(effect.rate_a), number(effect.rate_b), signed(effect.difference)),
            signed_interval(effect.interval) if effect.speakers >= FEW_SPEAKERS else "–",
        ]
        for setting, comparison, group, effect, tokens in groups
        if effect is not None and tokens
    ]
    return Table(title, sentence, header, cells, 4)


def _rates(study: Study, results: Results) -> Section:
    header = ["setting", "system", *(f"{output} %" for output in OUTPUTS), "each training"]
    cells = []
    for setting in study.settings():
        for system in study.systems:
            texts, single = [], []
            for output in OUTPUTS:
                errors = results.errors(setting, system, output)
                if errors is None:
                    texts.append("–")
                    continue
                rates = 100.0 * errors.sum(-1) / results.tokens(setting, output).sum()
                texts.append(number(float(rates.mean())))
                single.append(f"{output} " + ", ".join(number(float(rate)) for rate in rates))
            if single:
                cells.append([str(setting), system, *texts, "; ".join(single)])
    metrics = [
        f"{metric.upper()} of the {output}; " for output, metric in results.metrics().items()
    ]
    sentence = (
        f"Mean over the trainings, in percent: {''.join(metrics)}CER, or PER where the surface is "
        "phones."
    )
    return Section("Error rates", items=[Table("Error rates", sentence, header, cells, 2)])


def _regression(study: Study, results: Results) -> Section:
    items, notes = [], []
    for output in OUTPUTS:
        rows = regression_rows(study, results, output)
        try:
            fitted = fit(rows, output)
        except UserError as error:
            notes.append(f"{error.message} ({error.remedy})")
            continue
        items.append(_regression_table(fitted))
        if not fitted.converged:
            notes.append(f"{output}: the fit did not converge; do not use its coefficients.")
        if len(pairs := divergence_pairs(rows)) > 1:
            listed = "; ".join(f"{pair} in {', '.join(of)}" for pair, of in pairs.items())
            notes.append(
                f"{output}: divergence is not a predictor, because settings measure it between "
                f"different transcripts: {listed}."
            )
    notes += _pooled(results)
    return Section("What drives the difference", items=items, notes=notes)


def _regression_table(fitted: Fit) -> Table:
    cells = [
        [
            *(row.name, signed(row.estimate), signed_interval(row.interval)),
            *(str(row.df), p_value(row.p_value)),
        ]
        for row in fitted.coefficients
    ]
    deviations = ", ".join(f"{name} {number(sd)}" for name, sd in fitted.deviations.items())
    sentence = (
        "Percentage points of joint minus single-output training per unit of the predictor. Below "
        "zero, joint training helps more. Standard deviations of the random effects, in points: "
        f"{deviations}. {fitted.rows} rows, {fitted.settings} settings."
    )
    header = ["predictor", "points per unit", "95 % interval", "df", "p"]
    return Table(f"Regression of the {fitted.output} difference", sentence, header, cells)


def _mechanism(study: Study, results: Results) -> Section:
    header = [
        "output",
        "predictor",
        "comparison",
        "points",
        "settings",
        "Pearson's r",
        "interval",
        "Spearman's ρ",
    ]
    cells = []
    for output in OUTPUTS:
        of_output = points(study, results, output)
        for predictor, description in PREDICTORS.items():
            for name, result in correlations(output, predictor, of_output):
                cells.append(
                    [
                        *(output, description, name, str(result.points), str(result.settings)),
                        *(signed(result.pearson), signed_interval(result.interval)),
                        signed(result.spearman),
                    ]
                )
    notes = [] if cells else ["Fewer than four points have a measure of the models."]
    sentence = (
        "Correlation of a measure with joint minus single-output training, over settings. Below "
        "zero: the larger the measure, the more joint training helps. Within comparison and "
        "language: both are taken around the mean of the points of one comparison and language, so "
        "a measure that only tells these apart has no correlation. 95 % intervals resample "
        "settings; they are not corrected for the number of predictors."
    )
    table = Table("Do measures of the models predict the difference?", sentence, header, cells, 3)
    notes += _pooled(results)
    return Section("Mechanism", items=[table] if cells else [], notes=notes)


@dataclass(frozen=True)
class Power:
    """The difference that a comparison can detect in a setting."""

    comparison: Comparison
    setting: Setting
    components: simulation.Components
    single: float  # points, at level 0.05
    corrected: float  # at 0.05 divided by the number of tests of the family
    more_seeds: float  # as `corrected`, with 5 trainings


def power_rows(
    study: Study, results: Results, *, speakers: int | None = None, studies: int = 2000
) -> Iterator[Power]:
    """Yield what the primary comparisons can detect with 80 % power.

    The variance components are estimated from `results`; use those of the validation set.

    Args:
        speakers: number of test speakers. Default: as many as have tokens of the output in the
            results. Each has the mean number of tokens of these speakers.
    """
    primary = [
        (comparison, setting)
        for comparison, setting, family in study.hypotheses()
        if family == "primary"
    ]
    for comparison, setting in primary:
        a, b = (
            results.errors(setting, system, comparison.output)
            for system in (comparison.a, comparison.b)
        )
        if a is None or b is None or min(len(a), len(b)) < 2:
            continue
        tokens = results.tokens(setting, comparison.output)
        labelled = tokens > 0
        a, b, tokens = a[:, labelled], b[:, labelled], tokens[labelled]
        if len(tokens) < 3:
            continue
        components = simulation.estimate_components(a, b, tokens)
        tested = np.full(speakers or len(tokens), round(float(tokens.mean())))

        def detectable(alpha: float, seeds: int, of=components, tested=tested) -> float:
            return simulation.detectable_difference(of, tested, seeds, alpha, studies=studies)

        corrected = LEVEL / len(primary)
        seeds = len(study.seeds)
        yield Power(
            *(comparison, setting, components),
            *(detectable(LEVEL, seeds), detectable(corrected, seeds), detectable(corrected, 5)),
        )


def power_section(
    study: Study, results: Results, *, speakers: int | None = None, studies: int = 2000
) -> Section:
    """Return the table of detectable differences."""
    header = ["setting", "output", "b − a", "SD of seeds", "SD of speakers", "one test"]
    header += ["first of the family", f"the same, {5} seeds"]
    cells = [
        [
            *(str(row.setting), row.comparison.output),
            f"{row.comparison.b} − {row.comparison.a}",
            f"{number(row.components.seed_a)}, {number(row.components.seed_b)}",
            number(row.components.system_by_speaker),
            *(number(value) for value in (row.single, row.corrected, row.more_seeds)),
        ]
        for row in power_rows(study, results, speakers=speakers, studies=studies)
    ]
    who = f"{speakers} speakers" if speakers else f"the speakers of the set {results.dset}"
    sentence = (
        f"Differences in percentage points that {len(study.seeds)} seeds and "
        f"{who} find with 80 % power, by simulation. One test: at level "
        f"{LEVEL}. First of the family: at {LEVEL} divided by the number of primary tests. SD: "
        f"standard deviations of seeds (of a, b) and of the difference over speakers, in points, "
        f"estimated on the set {results.dset}."
    )
    notes = [] if cells else ["Needs two trainings of both systems."]
    table = Table("Detectable differences", sentence, header, cells, 3)
    return Section("Power", items=[table] if cells else [], notes=notes)


def _cost(study: Study, results: Results) -> Section:
    header = ["language", "system", "parameters", "updates", "seconds per training"]
    cells = []
    for setting in filter(study.is_primary, study.settings()):
        for system in study.systems:
            trainings = list(results.trainings(setting, system).values())
            if trainings:
                seconds = float(np.mean([one["seconds"] for one in trainings]))
                updates = {one["updates"] for one in trainings}
                cells.append(
                    [
                        *(setting.language, system, f"{trainings[0]['parameters']:,}"),
                        *("/".join(map(str, sorted(updates))), number(seconds, 0)),
                    ]
                )
    sentence = (
        "In the settings of the primary family. Trainings ran in parallel; seconds are means over "
        "the trainings."
    )
    return Section("Cost", items=[Table("Trainings", sentence, header, cells, 2)])


def _pooled(results: Results) -> list[str]:
    """Return what limits tables that put settings together, for merged results."""
    notes = results.content.get("notes", ())
    if not any("with other options" in note for note in notes):
        return []
    return [
        "Settings were trained or decoded with other options or versions (see the main "
        "comparisons), so their differences are not the effect of size and condition alone."
    ]


def coverage_section(studies: int) -> Section:
    """Return how often nominal 95 % intervals contain the true difference."""
    header = ["scenario", "seeds", "speakers", "SD of seeds", "t", "two-level bootstrap"]
    header += ["speakers only"]
    cells = [
        [
            *(row["scenario"], str(row["seeds"]), str(row["speakers"])),
            f"{number(row['seed_a'], 1)}, {number(row['seed_b'], 1)}",
            *(number(row[key], 1) for key in ("t", "bootstrap", "speakers_only")),
        ]
        for row in simulation.coverage_table(studies)
    ]
    sentence = (
        f"Percent of {studies} simulated studies in which a nominal 95 % interval contains the "
        "true difference. t: the interval of the report; speakers only: an interval that ignores "
        "seeds."
    )
    return Section("Coverage", items=[Table("Coverage", sentence, header, cells)])
