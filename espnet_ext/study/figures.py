"""The four figures of a study, by matplotlib: differences, divergence, mechanism, error rates."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from espnet_ext.errors import UserError
from espnet_ext.files import write_text
from espnet_ext.study.design import OUTPUTS, Comparison, Setting, Study, percent
from espnet_ext.study.effects import FEW_SPEAKERS
from espnet_ext.study.mechanism import PREDICTORS, points
from espnet_ext.study.results import Results

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#999999")
MARKERS = "osD^vP*X"
STYLES = ("-", "--", ":", "-.")
NAMES = ("differences", "divergence", "mechanism", "error_rates")
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "espnet_ext",  # the same results give the same bytes
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
}


def write_figures(study: Study, results: Results, folder: str | os.PathLike) -> list[Path]:
    """Write the figures as SVG files and return their paths.

    Raises:
        UserError: a file of the same name exists that is not an SVG file.
    """
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    paths = []
    for name, draw in zip(
        NAMES, (_differences, _divergence, _mechanism, _error_rates), strict=True
    ):
        path = Path(folder) / f"{name}.svg"
        if path.exists() and "<svg" not in path.read_text(encoding="utf-8")[:1000]:
            raise UserError(f"{path}: exists, and is not a figure", "name another folder")
        with matplotlib.rc_context(_STYLE):
            figure = Figure(layout="constrained")
            FigureCanvasSVG(figure)
            draw(figure, study, results)
            write_text(path, _svg(figure))
        paths.append(path)
    return paths


def _svg(figure: Any) -> str:
    import io

    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    return "\n".join(line.rstrip() for line in buffer.getvalue().splitlines()) + "\n"


def _panels(figure: Any, study: Study, title: str, rows: Sequence[str]) -> Any:
    """Return axes by row, which have these titles, and column (language)."""
    width = max(3.6 * len(study.languages), 6.8)  # for the title beside the legend
    figure.set_size_inches(width + 2.2, 2.7 * len(rows) + 0.4)
    axes = figure.subplots(len(rows), len(study.languages), squeeze=False)
    for row, row_title in enumerate(rows):
        for column, language in enumerate(study.languages):
            axes[row][column].set_title(f"{language}: {row_title}", fontsize=9)
            axes[row][column].grid(axis="y", color="#dddddd")
    figure.suptitle(title)
    return axes


def _legend(figure: Any, axes: Any) -> None:
    """Draw one legend for all panels, to the right of them."""
    handles: dict[str, Any] = {}
    for axis in axes.flat:
        for handle, label in zip(*axis.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    if handles:
        figure.legend(
            handles.values(), handles.keys(), loc="outside right upper", frameon=False, fontsize=8
        )


def _rows(study: Study) -> dict[str, list[Comparison]]:
    """Return the comparisons of equal heads, by the title of their row of panels.

    A row has the comparisons with one system, because differences from another system can be ten
    times as large.
    """
    rows: dict[str, list[Comparison]] = {}
    for output in OUTPUTS:
        for comparison in study.comparisons:
            if comparison.output == output and comparison.meaning_ctc is not None:
                rows.setdefault(f"{output}, minus {comparison.a}", []).append(comparison)
    return rows


def _show_shares(axis: Any, study: Study, shown: Iterable[float]) -> None:
    """Label the horizontal axis, whose positions are those of `_position`, from small to large."""
    shares = sorted(set(shown))
    if shares:
        ends = (_position(study, shares[0]), _position(study, shares[-1]))
        axis.set_xlim(ends[0] - 0.5, ends[1] + 0.5)
    axis.set_xticks(
        [_position(study, share) for share in shares], [f"{percent(share)} %" for share in shares]
    )


def _position(study: Study, share: float) -> int:
    return sorted(study.shares).index(share)


def _differences(figure: Any, study: Study, results: Results) -> None:
    if len(list(study.settings())) == len(study.languages):
        _differences_of_one_setting(figure, study, results)
        return
    rows = _rows(study)
    title = "Joint minus single-output training, by size of the training set"
    axes = _panels(figure, study, title, list(rows))
    shares = sorted(study.shares)
    for row, comparisons in enumerate(rows.values()):
        for column, language in enumerate(study.languages):
            axis = axes[row][column]
            axis.axhline(0, color="black", linewidth=0.8)
            shown: list[float] = []
            series = len(comparisons) * len(study.conditions)
            for number, comparison in enumerate(comparisons):
                for c, condition in enumerate(study.conditions):
                    known = [
                        (share, effect)
                        for share in shares
                        for setting in [Setting(condition, language, share)]
                        if (effect := results.effect(comparison, setting)) is not None
                    ]
                    if not known:
                        continue
                    shown += [share for share, _ in known]
                    shift = 0.12 * (number * len(study.conditions) + c - (series - 1) / 2)
                    axis.errorbar(
                        [_position(study, share) + shift for share, _ in known],
                        [effect.difference for _, effect in known],
                        yerr=_error_bars([effect for _, effect in known]),
                        color=COLOURS[comparison.meaning_ctc or 0],
                        marker=MARKERS[c % len(MARKERS)],
                        linestyle=STYLES[c % len(STYLES)],
                        capsize=2,
                        label=f"{comparison.b}, {condition}",
                    )
            _show_shares(axis, study, shown)
            axis.set_ylabel("percentage points")
    _legend(figure, axes)


def _differences_of_one_setting(figure: Any, study: Study, results: Results) -> None:
    """Draw all comparisons of an output below each other, where nothing but systems varies."""
    outputs = [o for o in OUTPUTS if any(c.output == o for c in study.comparisons)]
    title = "Differences of the systems in percentage points; above 0: more errors"
    axes = _panels(figure, study, title, outputs)
    counts = [sum(c.output == output for c in study.comparisons) for output in outputs]
    size = len(study.languages)
    figure.set_size_inches(4.0 + 4.0 * size, 0.22 * sum(counts) + 0.9 * len(outputs) + 0.4)
    axes[0][0].get_gridspec().set_height_ratios([count + 2 for count in counts])
    for row, output in enumerate(outputs):
        for column, setting in enumerate(study.settings()):
            axis = axes[row][column]
            axis.grid(axis="y", visible=False)
            axis.grid(axis="x", color="#dddddd")
            axis.axvline(0, color="black", linewidth=0.8)
            effects = [
                (comparison, effect)
                for comparison in study.comparisons
                if comparison.output == output
                and (effect := results.effect(comparison, setting)) is not None
            ]
            places = list(range(len(effects)))
            for primary in (True, False):
                chosen = [i for i in places if effects[i][0].primary == primary]
                axis.errorbar(
                    [effects[i][1].difference for i in chosen],
                    chosen,
                    xerr=_error_bars([effects[i][1] for i in chosen]),
                    color=COLOURS[not primary],
                    marker=MARKERS[not primary],
                    linestyle="none",
                    capsize=2,
                    label=f"{'primary' if primary else 'secondary'} family",
                )
            axis.set_yticks(places, [f"{c.b} − {c.a}" for c, _ in effects], fontsize=8)
            axis.set_ylim(len(effects) - 0.4, -0.6)
    _legend(figure, axes)


def _error_bars(effects: Sequence[Any]) -> list[list[float]]:
    """Return the lengths of the error bars below and above; zero without an interval to show."""
    margins = [
        (effect.interval[1] - effect.interval[0]) / 2
        if effect.interval and effect.speakers >= FEW_SPEAKERS
        else 0.0
        for effect in effects
    ]
    return [margins, margins]


def _divergence(figure: Any, study: Study, results: Results) -> None:
    rows = _rows(study)
    axes = _panels(figure, study, "Joint minus single-output training, by divergence", list(rows))
    for row, comparisons in enumerate(rows.values()):
        for column, language in enumerate(study.languages):
            axis = axes[row][column]
            axis.axhline(0, color="black", linewidth=0.8)
            settings = [
                setting
                for setting in study.settings()
                if setting.language == language and study.is_primary(setting)
            ]
            for number, comparison in enumerate(comparisons):
                for setting in settings:
                    if results.effect(comparison, setting) is None:
                        continue
                    bins = results.bins(setting, comparison.output)
                    effects = [results.effect(comparison, setting, name) for name in bins]
                    axis.errorbar(
                        [position + 0.1 * number for position in range(len(bins))],
                        [effect.difference if effect else None for effect in effects],
                        yerr=_error_bars(effects),
                        color=COLOURS[comparison.meaning_ctc or 0],
                        marker=MARKERS[comparison.meaning_ctc or 0],
                        linestyle="none",
                        capsize=2,
                        label=comparison.b,
                    )
                    axis.set_xticks(range(len(bins)), bins)
            axis.set_xlabel("divergence of the references, edits")
            axis.set_ylabel("percentage points")
    _legend(figure, axes)


def _mechanism(figure: Any, study: Study, results: Results) -> None:
    figure.set_size_inches(11, 6)
    of_outputs = {output: points(study, results, output) for output in OUTPUTS}
    measured = {
        name for of_output in of_outputs.values() for p in of_output for name in p.predictors
    }
    predictors = {name: text for name, text in PREDICTORS.items() if name in measured} or PREDICTORS
    figure.set_size_inches(11 * len(predictors) / 3, 6)
    axes = figure.subplots(len(OUTPUTS), len(predictors), squeeze=False)
    figure.suptitle("Measures of the models, and what joint training gains (below 0) or loses")
    for row, (output, of_output) in enumerate(of_outputs.items()):
        for column, (predictor, description) in enumerate(predictors.items()):
            axis = axes[row][column]
            axis.axhline(0, color="black", linewidth=0.8)
            for point in of_output:
                if predictor not in point.predictors:
                    continue
                language = list(study.languages).index(point.setting.language)
                condition = list(study.conditions).index(point.setting.condition)
                ctc = point.comparison.meaning_ctc or 0
                axis.plot(
                    point.predictors[predictor],
                    point.difference,
                    MARKERS[(2 * condition + ctc) % len(MARKERS)],
                    color=COLOURS[language % len(COLOURS)],
                    markersize=3 + 4 * point.setting.share,
                    label=f"{point.setting.language}, {point.setting.condition}, "
                    f"{'with' if ctc else 'without'} CTC",
                )
            if not axis.get_legend_handles_labels()[0]:
                axis.text(0.5, 0.5, "not measured", ha="center", transform=axis.transAxes)
            axis.set_title(output)
            axis.set_xlabel(_wrapped(description), fontsize=8)
            axis.set_ylabel("percentage points")
    _legend(figure, axes)


def _wrapped(text: str) -> str:
    import textwrap

    return textwrap.fill(text, 38)


def _error_rates(figure: Any, study: Study, results: Results) -> None:
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    condition = next(iter(study.conditions))
    title = f"Error rates of the systems ({condition}); small marks are single trainings"
    axes = _panels(figure, study, title, list(OUTPUTS))
    shares = sorted(study.shares)
    for row, output in enumerate(OUTPUTS):
        for column, language in enumerate(study.languages):
            axis = axes[row][column]
            shown: list[float] = []
            for number, system in enumerate(study.systems):
                rates = {}
                for share in shares:
                    setting = Setting(condition, language, share)
                    errors = results.errors(setting, system, output)
                    if errors is not None:
                        total = results.tokens(setting, output).sum()
                        rates[share] = 100.0 * errors.sum(-1) / total
                if not rates:
                    continue
                colour, marker = COLOURS[number % 8], MARKERS[(number + number // 8) % 8]
                means = [float(values.mean()) for values in rates.values()]
                shift = min(0.1, 0.9 / len(study.systems)) * (number - (len(study.systems) - 1) / 2)
                places = [_position(study, share) + shift for share in rates]
                axis.plot(places, means, color=colour, marker=marker, label=system)
                for place, values in zip(places, rates.values(), strict=True):
                    axis.plot([place] * len(values), values, ".", color=colour, markersize=3)
                shown += rates
            axis.set_yscale("log")
            axis.yaxis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 4, 5, 6, 7, 8, 9)))
            axis.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
            axis.yaxis.set_minor_formatter(NullFormatter())
            _show_shares(axis, study, shown)
            axis.set_ylabel("error rate in percent")
    _legend(figure, axes)
