"""Stage 17: write the steps of all analyses, as they declare their inputs.

    python -m espnet_ext.pipeline.analyses VARIABLES --kind texts|models|stress

VARIABLES is the JSON file with the variables of `run.sh` (see `settings`). Standard output gets the
steps in the form of `steps.read_steps`, standard error a note on each analysis that cannot run.
"""

import argparse
import json
import string
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from espnet_ext.analysis.definition import SYSTEM_VALUES, VALUES, Analysis, Input, Option
from espnet_ext.errors import UserError
from espnet_ext.files import read_json, read_yaml, write_json
from espnet_ext.pipeline.variants import PROMPT, of_system
from espnet_ext.progress import guarded_streams

NOT_RUN = "not_run.json"  # in the folder of analyses: those that cannot run, and why
MODEL_FILES = ("model.pth", "config.yaml")
KINDS = ("texts", "models", "stress")
Folders = Sequence[tuple[str, str]]  # (name of a system, its folder)


def kind_of(analysis: Analysis) -> str:
    """Return what an analysis needs: text files, models, or the trainings of the stress test."""
    if any("{stress_decoding}" in source.path for source in analysis.inputs):
        return "stress"
    return "models" if analysis.uses_device else "texts"


def reads_models(analysis: Analysis) -> bool:
    """Return whether an analysis needs the model directories of systems."""
    return any("{model}" in source.path for source in analysis.inputs)


class CannotRunError(Exception):
    """Why an analysis cannot run on a test set."""


@dataclass(frozen=True)
class Scope:
    """What templates are filled in with: for a language, a test set, and perhaps one system."""

    values: Mapping[str, str]
    folders: Mapping[str, Folders]  # value of SYSTEM_VALUES → folders

    def one(self, template: str) -> str:
        """Return a template filled in; "" if one of its values is empty."""
        fields = _fields(template)
        for name in fields:
            if name in self.folders and len(self.folders[name]) != 1:
                raise CannotRunError(
                    f"{template} names a file of one system, but no result file has {{decoding}}"
                )
            if name not in self.folders and name not in self.values:
                known = ", ".join([*VALUES, *SYSTEM_VALUES])
                raise CannotRunError(
                    f"{template}: there is no '{name}' among {known} and the variables of run.sh"
                )
        filled = {
            name: self.folders[name][0][1] if name in self.folders else self.values[name]
            for name in fields
        }
        return template.format(**filled) if all(filled.values()) else ""

    def each(self, template: str) -> list[str]:
        """Return NAME=PATH for each system that the template's value has."""
        names = [name for name in _fields(template) if name in self.folders]
        if len(names) != 1:
            raise CannotRunError(f"{template} does not name one of {', '.join(SYSTEM_VALUES)}")
        return [
            f"{system}={template.format_map({**self.values, names[0]: folder})}"
            for system, folder in self.folders[names[0]]
        ]


def _fields(template: str) -> list[str]:
    return [name for _, name, _, _ in string.Formatter().parse(template) if name]


def language_values(variables: Mapping[str, Any], lang: str) -> dict[str, str]:
    """Return the variables of run.sh that are strings; those by language without their "_of"."""
    values = {name: value for name, value in variables.items() if isinstance(value, str)}
    for name, value in variables.items():
        if name.endswith("_of") and isinstance(value, Mapping) and lang in value:
            values[name.removesuffix("_of")] = value[lang]
    return values


def analysed_systems(analysis: Analysis, variables: Mapping[str, Any]) -> list[str] | None:
    """Return the systems to analyse; None if nothing asks for the analysis."""
    systems = variables["systems"].split()
    key, equals, value = analysis.requested_by.partition("=")
    if equals:
        defaults = read_yaml(variables["asr_config"])
        configs = {name: read_yaml(variables["system_config"][name]) for name in systems}
        systems = [n for n in systems if str(configs[n].get(key, defaults.get(key))) == value]
        return systems or None
    if key and key not in variables:
        raise CannotRunError(f"requested_by '{key}' is not an option of run.sh")
    return systems if not key or variables[key].strip() not in ("", "false") else None


class Decoding(NamedTuple):
    """A decoding of a system, or the hypotheses of a baseline.

    Args:
        name: name in `analyses`.
        system: empty for a baseline, which is only known by its hypotheses.
        folder: folder of the model, below exp/<lang>.
        tag: subfolder of the decoding.
        knows_prompt: whether it was decoded with the canonical form of the prompt.
    """

    name: str
    system: str
    folder: str
    tag: str
    knows_prompt: bool = False


def hypotheses_only(
    variables: Mapping[str, Any], lang: str, systems: Sequence[str]
) -> dict[str, str]:
    """Return the folders of systems that have hypotheses but no model, by system.

    For example, hypotheses of several models are pooled in such a folder. A folder with neither is
    not among them: it is an error of the command that reads it.
    """
    folders = {}
    for name in systems:
        folder = Path(f"{variables['expdir']}/{lang}/{name}_{variables['asr_tag']}")
        has_model = any((folder / file).exists() for file in MODEL_FILES)
        if not has_model and any(folder.glob(f"{variables['inference_tag']}/*/text.*")):
            folders[name] = str(folder)
    return folders


def left_out(
    analysis: Analysis, variables: Mapping[str, Any], lang: str, systems: Sequence[str]
) -> dict[str, str]:
    """Return the systems that an analysis of models cannot read: name → why."""
    absent = hypotheses_only(variables, lang, systems)
    reasons = {
        name: f"{folder}: hypotheses, but no {MODEL_FILES[0]}" for name, folder in absent.items()
    }
    for name in systems:
        config = Path(f"{variables['expdir']}/{lang}/{name}_{variables['asr_tag']}/config.yaml")
        if config.is_file():
            reason = analysis.cannot_read(read_yaml(config, exponents=False))
            if reason:
                reasons[name] = f"{config}: {reason}"
    return reasons


def decodings_of(
    analysis: Analysis, variables: Mapping[str, Any], systems: Sequence[str]
) -> list[Decoding]:
    """Return the decodings of systems; variants too, unless the analysis also needs models."""
    tag, asr_tag = variables["inference_tag"], variables["asr_tag"]
    variants = variables["variants"]
    if reads_models(analysis):
        variants = ""
    decodings = []
    for name in systems:
        folder = f"{name}_{asr_tag}"
        decodings.append(Decoding(name, name, folder, tag))
        for variant in of_system(variants, name):
            names = f"{name}_{variant}", name, folder, f"{tag}_{variant}"
            decodings.append(Decoding(*names, knows_prompt=variant == PROMPT))
    return decodings


def baselines_of(variables: Mapping[str, Any], lang: str, dset: str) -> list[Decoding]:
    """Return the hypotheses of the baselines on a test set."""
    runs = [run.split() for run in variables["baseline_runs"]]
    return [
        Decoding(name, "", f"baseline_{name}", variables["inference_tag"])
        for one_lang, one_set, name in runs
        if (one_lang, one_set) == (lang, dset)
    ]


def scope(
    variables: Mapping[str, Any], lang: str, dset: str, decodings: Sequence[Decoding]
) -> Scope:
    """Return the values for some decodings on a test set."""
    values = language_values(variables, lang)
    dump, exp = f"{values['dumpdir']}/raw/{lang}", f"{values['expdir']}/{lang}"
    values |= {"data": f"{dump}/{dset}", "train": f"{dump}/{values['train_set']}"}
    systems = list(dict.fromkeys(one.system for one in decodings if one.system))
    models = {name: f"{exp}/{name}_{values['asr_tag']}" for name in systems}
    decoded = f"{values['inference_tag']}/{dset}"
    stress_runs = [run.split() for run in variables["stress_runs"]]  # see `stress.StressRun`
    folders = {
        "model": list(models.items()),
        "decoding": [(one.name, f"{exp}/{one.folder}/{one.tag}/{dset}") for one in decodings],
        "baseline": [
            (one.name, f"{exp}/{one.folder}/{one.tag}/{dset}")
            for one in baselines_of(variables, lang, dset)
        ],
        "twin": [
            (name, f"{exp}/{name}_{values['asr_tag']}_twin")
            for name in values["twins"].split()
            if name in systems
        ],
        "stress_decoding": [
            (label, f"{exp}/stress/{folder}/{decoded}") for *_, folder, label in stress_runs
        ],
    }
    return Scope(values, folders)


def language_steps(
    analysis: Analysis, variables: Mapping[str, Any], lang: str, systems: Sequence[str]
) -> Iterator[list[str] | CannotRunError]:
    """Yield the words of each step of an analysis, or why a test set has none."""
    if len(systems) < analysis.min_systems:
        alone = f"--systems {' '.join(systems)}" + " is one system alone" * (len(systems) == 1)
        yield CannotRunError(f"it compares at least {analysis.min_systems} systems; {alone}")
        return
    decodings = decodings_of(analysis, variables, systems)
    for file in analysis.result_files:
        sets = variables["test_sets"].split()
        for dset in sets if "{set}" in file or "{decoding}" in file else sets[:1]:
            groups = [decodings]
            if "{decoding}" in file:
                groups = [
                    [one]
                    for one in [*decodings, *baselines_of(variables, lang, dset)]
                    if not (one.knows_prompt and file in analysis.unprompted_files)
                ]
            for group in groups:
                try:
                    values = scope(variables, lang, dset, group)
                    name = f"{lang}/{Path(file).stem}".replace("{set}", dset)
                    result = f"{variables['expdir']}/{lang}/{file.replace('{set}', dset)}"
                    if "{decoding}" in file:
                        name += f"_{group[0].folder}_{group[0].tag}_{dset}"
                        result = file.replace("{decoding}", values.folders["decoding"][0][1])
                    yield from step_words(analysis, file, values, name, result)
                except CannotRunError as reason:
                    yield reason


def step_words(
    analysis: Analysis, file: str, values: Scope, name: str, result: str
) -> Iterator[list[str]]:
    """Yield the words of the step that writes a result file, unless nothing asks for the file.

    Args:
        file: the result file as the analysis declares it.
        name: name of the step.
        result: path of the result file.

    Raises:
        CannotRunError: an input is missing, or stage 17 cannot name it.
    """
    command: list[str] = []
    depends: list[str] = []
    for source in analysis.inputs:
        if source.result_file in ("", file):
            paths = input_paths(source, values)
            if source.result_file and not paths:
                return
            if paths:
                command += [source.option, *paths]
                depends += dependencies(source, paths)
    for option in analysis.options:
        if option.result_file in ("", file):
            command += option_words(option, values)
    verb = [f"espnet_ext.bin.{analysis.verb}"]
    if not analysis.verb:
        verb = ["espnet_ext.bin.analyze", analysis.name]
    words = [name]
    for flag, items in (("--code", analysis.modules), ("--in", depends), ("--out", [result])):
        for item in items:
            words += [flag, item]
    yield [*words, "--", values.values["python"], "-m", *verb, *command, "--output", result]


def input_paths(source: Input, values: Scope) -> list[str]:
    """Return what the option of an input is given; nothing for an optional one that is missing.

    A file in a folder (`{data}/text.canonical`) must exist. Whole folders and options of run.sh are
    passed on as they are: the command reports a missing one.

    Raises:
        CannotRunError: the input is required.
    """
    if not source.path and source.required:
        raise CannotRunError(
            f"its input {source.option} has no path that stage 17 could give: run it by espnet-ext"
        )
    requested = not source.only_if or values.values.get(source.only_if, "") not in ("", "false")
    if not source.path or not requested:
        return []
    is_file = "/" in source.path
    if source.per_system:
        paths = values.each(source.path)
        missing = [path for path in paths if is_file and not Path(path.partition("=")[2]).exists()]
        paths = [path for path in paths if path not in missing]
    else:
        path = values.one(source.path)
        missing = [path] if is_file and not Path(path).exists() else []
        paths = [path] if path and not missing else []
    if source.required and (missing or not paths):
        problem = f"{missing[0]}: no such file" if missing else f"{source.option} would be empty"
        raise CannotRunError("; ".join(filter(None, [problem, source.remedy])))
    return paths


def dependencies(source: Input, paths: Sequence[str]) -> Iterator[str]:
    """Yield the files and folders behind an input on which the result depends.

    >>> source = Input("--models", "", per_system=True, depends_on=["model.pth"])
    >>> list(dependencies(source, ["a=exp/a", "b=exp/b"]))
    ['exp/a/model.pth', 'exp/b/model.pth']
    """
    for path in paths:
        folder = path.partition("=")[2] if source.per_system else path
        if source.per_system and source.depends_on:
            yield from (f"{folder}/{name}" for name in source.depends_on)
        else:
            yield folder


def option_words(option: Option, values: Scope) -> list[str]:
    """Return an option with its value; nothing for one that keeps its default."""
    value = values.one(option.value) if option.value else ""
    if option.required and not value:
        raise CannotRunError(f"its option {option.option} has no value that stage 17 could give")
    return [option.option, value] if value else []


def collect(
    analyses: Mapping[str, Analysis], variables: Mapping[str, Any], kind: str
) -> tuple[list[list[str]], list[str]]:
    """Return the steps of the analyses of a kind, and notes on those that cannot run."""
    steps, notes, _ = collect_with_reasons(analyses, variables, kind)
    return steps, notes


def collect_with_reasons(
    analyses: Mapping[str, Analysis], variables: Mapping[str, Any], kind: str
) -> tuple[list[list[str]], list[str], dict[str, dict[str, str]]]:
    """Return what `collect` returns, and for each language the analyses that cannot run, and why.

    The reasons are language → name of the analysis → reason.
    """
    steps: list[list[str]] = []
    reasons: dict[tuple[str, str], list[str]] = {}  # (analysis, why it cannot run) → languages
    notes: list[str] = []
    for analysis in analyses.values():
        if kind_of(analysis) != kind:
            continue
        try:
            systems = analysed_systems(analysis, variables)
        except CannotRunError as reason:
            reasons[analysis.name, str(reason)] = variables["langs"].split()
            continue
        if systems is None:
            continue
        for lang in variables["langs"].split():
            with_model = systems
            if reads_models(analysis):
                unreadable = left_out(analysis, variables, lang, systems)
                with_model = [name for name in systems if name not in unreadable]
                if unreadable and len(with_model) < max(analysis.min_systems, 1):
                    problem = "; ".join(unreadable.values())
                    reasons.setdefault((analysis.name, problem), []).append(lang)
                    continue
                notes += [
                    f"note: analysis {analysis.name} leaves out {name} for {lang}: {reason}"
                    for name, reason in unreadable.items()
                ]
            results = list(language_steps(analysis, variables, lang, with_model))
            of_language = [words for words in results if isinstance(words, list)]
            steps += of_language
            if not of_language and results:
                reasons.setdefault((analysis.name, str(results[0])), []).append(lang)
    notes += [
        f"note: analysis {name} is not run for {', '.join(langs)}: {reason}"
        for (name, reason), langs in reasons.items()
    ]
    by_language: dict[str, dict[str, str]] = {lang: {} for lang in variables["langs"].split()}
    for (name, why), langs in reasons.items():
        for lang in langs:
            by_language[lang][name] = why
    return steps, notes, by_language


def record_not_run(folder: Path, kind: str, reasons: Mapping[str, str]) -> None:
    """Write which analyses of a kind cannot run into `not_run.json`, for the report.

    The file is kind → name of the analysis → reason. It is removed if it becomes empty.
    """
    path = folder / NOT_RUN
    before = read_json(path) if path.is_file() else {}
    now = {**before, kind: dict(reasons)}
    now = {name: analyses for name, analyses in now.items() if analyses}
    if now and now != before:
        folder.mkdir(parents=True, exist_ok=True)
        write_json(path, now)
    elif not now:
        path.unlink(missing_ok=True)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0], allow_abbrev=False)
    parser.add_argument("variables", type=Path, help="JSON file with the variables of run.sh")
    parser.add_argument("--kind", required=True, choices=KINDS, help="what the analyses need")
    parser.add_argument("--python", default=sys.executable, help="interpreter of the commands")
    parser.add_argument("--variants", default="", help="variants of decoding, SYSTEM:VARIANT …")
    args = parser.parse_args(argv)

    from espnet_ext.analysis.registry import ANALYSES

    try:
        variables = json.loads(args.variables.read_text(encoding="utf-8"))
        variables |= {"python": args.python, "variants": args.variants}
        steps, notes, reasons = collect_with_reasons(ANALYSES, variables, args.kind)
        for lang, of_language in reasons.items():
            folder = Path(variables["expdir"]) / lang / "analysis"
            record_not_run(folder, args.kind, of_language)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    with guarded_streams():
        for note in notes:
            print(note, file=sys.stderr)
    for words in steps:
        sys.stdout.write("".join(f"{word}\0" for word in [str(len(words)), *words]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
