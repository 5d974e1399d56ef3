"""The variables of `run.sh`: options and what follows from them, as assignments for bash.

    python -m espnet_ext.pipeline.settings ROOT START FILE [--name value ...]

ROOT is the folder of run.sh, START the user's current directory. FILE gets the assignments, and
FILE.json the same as JSON; FILE stays empty for --help and --version. Values are quoted for
bash; only names of this module and of `options` are assigned, so nothing in recipe.conf or on the
command line can run a command or change another variable. Needs only the standard library of
Python 3.9.
"""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from espnet_ext import __version__
from espnet_ext.errors import UserError
from espnet_ext.pipeline import baselines, languages, stress, units
from espnet_ext.pipeline.command_line import (
    checked,
    help_text,
    named_recipe,
    read_command_line,
    wants_help,
)
from espnet_ext.pipeline.names import (
    ALL,
    Places,
    braces,
    check_names,
    for_language,
    mark_quick_report,
    selected_stages,
    tag_of,
    unique,
)
from espnet_ext.pipeline.option_values import check_token_types, check_values, log_options
from espnet_ext.pipeline.options import (
    OPTIONS,
    PER_LANGUAGE,
    canonical_name,
    derived_option,
)
from espnet_ext.pipeline.recipe import Recipe, check_required, read_recipe
from espnet_ext.pipeline.usage import UsageError

if TYPE_CHECKING:
    # A variable of bash: a string, an array or an associative array
    Value = str | Sequence[str] | Mapping[str, str]

PACKAGE = Path(__file__).parents[1]
# Corpora beside whose results the report shows published ones: those of the same kind
PUBLISHED = ("mini_l2", "aihub505", "aihub_l2")
VERSION_FILE = "local/espnet_ext_version.txt"  # `espnet-ext new_recipe` writes it


def find_recipe(root: Path, start: Path, name: str | None) -> Path:
    """Return the recipe's folder.

    Args:
        root: The folder of run.sh.
        start: The user's current directory.
        name: Value of --recipe, relative to one of these; None: the embedded corpus.

    Raises:
        UsageError: There is no such folder; the recipes are listed.
    """
    starts = [start, root]
    if name is None:
        name, starts = OPTIONS["recipe"].default, [root]
    for folder in starts:
        if name and (folder / name).is_dir():
            return (folder / name).resolve()
    known = sorted(root.glob("egs2/*/*/conf/recipe.conf"))
    raise UsageError(
        f"--recipe {name}: no such folder in {' or '.join(unique(map(str, starts)))}",
        f"name one of: {' '.join(str(p.parents[1].relative_to(root)) for p in known)}",
    )


def collect_values(
    recipe: Recipe, on_command_line: Mapping[str, str], start: Path
) -> dict[str, str]:
    """Return the value of every option.

    Precedence: the command line, `quick_<option>` of recipe.conf with --quick true,
    recipe.conf, defaults. With --quick true, --asr_args is added to that of a quick run, so that it
    stays short; of an option that is given twice, the last value counts.
    """
    options = {**OPTIONS, **recipe.corpus_options}
    values = {name: option.default for name, option in options.items()}
    for setting in recipe.settings.values():
        option = options.get(canonical_name(setting.name)) or derived_option(setting.name)
        if option is not None:  # corpus and corpus_paths are none
            source = f"{recipe.folder / 'conf/recipe.conf'}:{setting.line}: "
            values[option.name] = checked(option, setting.value, source)
    values.update(on_command_line)
    if values["quick"] == "true":
        for name in options:
            if name == "asr_args" and name in on_command_line:
                quick = values.get(f"quick_{name}", "")
                values[name] = f"{quick} {on_command_line[name]}".strip()
            if name in on_command_line:
                continue
            if name in ("datadir", "dumpdir", "expdir"):
                values[name] = f"{name[: -len('dir')]}/quick"
            values[name] = values.get(f"quick_{name}", values[name])
        mark_quick_report(values)
    for name, value in on_command_line.items():
        option = options.get(name) or derived_option(name)
        if option and option.kind == "path" and value and (start / value).exists():
            values[name] = str(start / value)
    return values


def check_corpus(recipe: Recipe, values: Mapping[str, str]) -> None:
    """Check the languages, and that the corpus is named and exists."""
    if recipe.corpus:
        try:
            recipe.corpus.check_languages(values["langs"].split())
        except UserError as error:
            raise UsageError(error.message, error.remedy) from None
    for name in check_required(recipe, values):
        if values[name] != "true" and not (recipe.folder / values[name]).exists():
            raise UserError(
                f"--{name} {values[name]}: no such file or folder",
                f"check the path ({recipe.corpus_options[name].help})",
            )


def per_language(
    values: Mapping[str, str], on_command_line: Mapping[str, str]
) -> dict[str, dict[str, str]]:
    """Return associative arrays by language: outputs, token types, units, lexicons."""
    langs = values["langs"].split()
    chosen = {
        option: {lang: for_language(option, lang, values, on_command_line) for lang in langs}
        for option in PER_LANGUAGE
    }
    types = {lang: check_token_types(lang, chosen["token_types"][lang]) for lang in langs}
    return {
        "token_types_of": {lang: chosen["token_types"][lang] for lang in langs},
        "outputs_of": {lang: " ".join(types[lang]) for lang in langs},
        "lexicon_of": chosen["lexicon"],
        "distance_unit_of": chosen["distance_unit"],
        "mdd_unit_of": {lang: languages.mdd_unit(lang, types[lang]) for lang in langs},
        "mdd_lexicon_of": {
            lang: chosen["lexicon"][lang]
            if languages.mdd_unit(lang, types[lang]) == "phone"
            else ""
            for lang in langs
        },
        "mdd_without_prompt_of": {
            lang: str(languages.mdd_without_prompt(lang, types[lang])).lower() for lang in langs
        },
        "mdd_g2p_of": {
            lang: "true" if languages.mdd_uses_g2p(lang, types[lang]) else "" for lang in langs
        },
    }


def add_embedded_lexicon(by_language: Mapping[str, dict[str, str]], folder: Path) -> None:
    """Let stage 17 use the lexicon of the embedded corpus, unless another one is given.

    A word of that corpus has one pronunciation, so that the others are mispronunciations.
    """
    lexicon = os.path.relpath(PACKAGE / "text/english_lexicon.txt", folder)
    for lang, uses_g2p in by_language["mdd_g2p_of"].items():
        if uses_g2p and not by_language["mdd_lexicon_of"][lang]:
            by_language["mdd_lexicon_of"][lang] = lexicon


def derive(
    values: dict[str, str],
    on_command_line: Mapping[str, str],
    recipe: Recipe,
    root: Path,
    start: Path,
) -> dict[str, Value]:
    """Return all variables of run.sh: the options, and what follows from them.

    Raises:
        UsageError: Options contradict each other or name something that does not exist.
        UserError: The corpus does not exist.
    """
    values["langs"] = languages.language_codes(values["langs"], recipe.folder / values["datadir"])
    places = Places(root, recipe.folder, start)
    defaults = default_values(recipe)
    is_default = values["systems"] == defaults["systems"]
    values["systems"] = expand_systems(values["systems"], values, on_command_line, places)
    if is_default:
        defaults["systems"] = values["systems"]
    check_values(values)
    systems = values["systems"].split()
    stress_systems = values["stress_systems"].split() if values["stress"].strip() else []
    for system in [*systems, *stress_systems]:
        if system not in places.known_systems():
            raise UsageError(
                f"no system named '{system}'", f"choose among: {' '.join(places.known_systems())}"
            )
    values["asr_config"] = places.find_config("train", values["asr_config"])
    with_lm = values["use_lm"] == "true" or values["use_ngram"] == "true"
    if with_lm and "inference_config" not in on_command_line:
        values["inference_config"] = "decode_lm.yaml"
    values["inference_config"] = places.find_config("decode", values["inference_config"])
    if values["use_lm"] == "true":
        values["lm_config"] = places.find_config("train_lm", values["lm_config"])
    if not values["inference_tag"]:
        values["inference_tag"] = tag_of(values["inference_config"]) + "_ngram" * (
            values["use_ngram"] == "true"
        )
    place_single_model(values, start)
    tag = tag_of(values["asr_config"]) + units.input_suffix(values)
    values["asr_tag"] = values["asr_tag"] or tag
    values["asr_args"] = f"{log_options(values['log_to'])} {values['asr_args']}".strip()
    values["fs"] = values["fs"][:-1] + "000" if values["fs"].endswith("k") else values["fs"]
    for name, file in (("results", "RESULTS.md"), ("html", "report.html")):
        values[name] = values[name] or f"{values['expdir']}/{file}"
    if values["nlsyms_txt"] and not (recipe.folder / values["nlsyms_txt"]).is_file():
        raise UserError(f"--nlsyms_txt {values['nlsyms_txt']}: no such file", "check the path")
    if 1 in selected_stages(values):
        check_corpus(recipe, values)
    variables: dict[str, Value] = {**data_sets(values)}
    by_language = per_language(values, on_command_line)
    if recipe.corpus and recipe.corpus.name == "mini_l2":
        add_embedded_lexicon(by_language, recipe.folder)
    variables.update(by_language)
    variables.update(stress.variables(values, by_language["outputs_of"]))
    token_types = {
        lang: languages.parse_pairs(types) for lang, types in by_language["token_types_of"].items()
    }
    variables.update(units.variables(values, token_types, recipe.folder, start))
    langs, test_sets = values["langs"].split(), values["test_sets"].split()
    outputs_used = unique([name for types in token_types.values() for name in types])
    sources = baselines.parse(shlex.split(values["baselines"]), systems, outputs_used)
    search = values["baseline_search"]
    located = baselines.locate(sources, langs, test_sets, [start, recipe.folder], search)
    if values["train_baseline"] == "true":
        written = places.outputs_of_systems(systems)
        outputs = {
            lang: [name for name in names.split() if name in written]
            for lang, names in by_language["outputs_of"].items()
        }
        known = places.known_systems()
        folders = f"{values['expdir']}/{{lang}}/stock_{{output}}_{values['asr_tag']}"
        baselines.add_trained(located, outputs, test_sets, known, folders, search)
    variables.update(located.variables())
    stock_systems = [training.split()[2] for training in located.trainings]
    variables["system_config"] = {
        system: places.system_config(system)
        for system in unique([*systems, *stress_systems, *stock_systems])
    }
    variables.update(reported(values, defaults, recipe.folder))
    variables["selected_stages"] = [str(number) for number in selected_stages(values)]
    variables["corpus_module"] = recipe.corpus.module if recipe.corpus else ""
    is_comparable = recipe.corpus is not None and recipe.corpus.name in PUBLISHED
    variables["published"] = "true" if is_comparable else "false"
    variables["corpus_options"] = corpus_options(recipe, values)
    variables["corpus_inputs"] = corpus_inputs(recipe, values)
    variables["langs_pattern"] = braces(values["langs"].split())
    variables["systems_pattern"] = braces(systems)
    variables["test_sets_pattern"] = braces(values["test_sets"].split())
    for name, option in OPTIONS.items():
        if name not in variables:
            is_array = option.kind == "arguments"
            variables[name] = shlex.split(values[name]) if is_array else values[name]
    variables["recipe"] = str(recipe.folder)
    variables["log_dir"] = f"{values['expdir']}/log"
    return variables


def expand_systems(
    systems: str, values: Mapping[str, str], on_command_line: Mapping[str, str], places: Places
) -> str:
    """Return --systems with the names of systems in place of "all"."""
    if ALL not in systems.split():
        return systems
    types = [
        check_token_types(lang, for_language("token_types", lang, values, on_command_line))
        for lang in values["langs"].split()
    ]
    outputs = [name for name in types[0] if all(name in of_lang for of_lang in types)]
    config = places.find_config("train", values["asr_config"])
    return " ".join(places.expand_systems(systems.split(), config, outputs))


def default_values(recipe: Recipe) -> dict[str, str]:
    """Return the languages, systems and test sets of a recipe, without a command line."""
    return {
        name: recipe.settings[name].value if name in recipe.settings else OPTIONS[name].default
        for name in ("langs", "systems", "test_sets")
    }


def reported(
    values: Mapping[str, str], defaults: Mapping[str, str], folder: Path
) -> dict[str, Value]:
    """Return the languages and test sets of the report.

    They are those of this run, and those of the recipe that earlier runs scored: otherwise
    `--langs en --stage 18` would remove the other language from the report.

    Raises:
        UsageError: --update_results would remove results from the recipe's RESULTS.md.
    """
    exp = folder / values["expdir"]
    model = f"*_{values['asr_tag']}/{values['inference_tag']}"

    def with_results(option: str, pattern: str) -> list[str]:
        chosen = values[option].split()
        known = [
            name
            for name in defaults[option].split()
            if name in chosen or any(exp.glob(pattern.format(name)))
        ]
        return unique([*known, *chosen])

    langs = with_results("langs", "{}/" + model + "/*/score.json")
    sets = with_results("test_sets", "*/" + model + "/{}/score.json")
    if values["update_results"] == "true" and 18 in selected_stages(values):
        if values["quick"] == "true":
            raise UsageError(
                "--update_results true with --quick true", "publish the results of a whole run"
            )
        for option, names in (
            ("langs", langs),
            ("systems", values["systems"].split()),
            ("test_sets", sets),
        ):
            if lost := [name for name in defaults[option].split() if name not in names]:
                raise UsageError(
                    f"--update_results true would remove {' '.join(lost)} from RESULTS.md",
                    f"run the whole recipe, without --{option}",
                )
    return {"reported_langs": " ".join(langs), "reported_sets": " ".join(sets)}


def data_sets(values: Mapping[str, str]) -> dict[str, Value]:
    """Return the names of the data sets: as prepared, as combined, and after speed perturbation."""
    sources = values["train_sets"].split() or [values["train_set"]]
    combined = "+".join(sources)
    held_out = [values["valid_set"], *values["test_sets"].split()]
    train = combined + "_sp" * bool(values["speed_perturb_factors"].strip())
    all_sets = unique([train, *held_out])
    return {
        "train_sets": " ".join(sources),
        "unperturbed_train_set": combined,
        "train_set": train,
        "prepared_sets": " ".join(unique([*sources, *held_out])),
        "prepared_sets_pattern": braces(unique([*sources, *held_out])),
        "all_sets": " ".join(all_sets),
        "all_sets_pattern": braces(all_sets),
        "first_test_set": values["test_sets"].split()[0],
        # Nothing may be left out of a set that is decoded
        "is_test_set": {
            name: str(name in values["test_sets"].split()).lower() for name in all_sets
        },
    }


def place_single_model(values: dict[str, str], start: Path) -> None:
    """Check --asr_exp and --asr_stats_dir, and derive the tag of the model from its folder."""
    for name in ("asr_exp", "asr_stats_dir"):
        if values[name] and len(values["langs"].split()) > 1:
            raise UsageError(
                f"--{name} with several languages", "choose one, for example --lang en"
            )
        if values[name] and (start / values[name]).exists():
            values[name] = str((start / values[name]).resolve())
    if not values["asr_exp"]:
        return
    systems = values["systems"].split()
    if len(systems) > 1 or values["twins"].strip() or values["stress"].strip():
        raise UsageError(
            "--asr_exp is the folder of one model",
            "choose one system, for example --systems do, without --twins and --stress",
        )
    if not values["asr_tag"]:
        name, prefix = Path(values["asr_exp"]).name, f"{systems[0]}_"
        values["asr_tag"] = name[len(prefix) :] if name.startswith(prefix) else name
        check_names("asr_exp", [values["asr_tag"]])


def corpus_options(recipe: Recipe, values: Mapping[str, str]) -> list[str]:
    """Return the options of the corpus for local/data.sh, without those that have the default."""
    words = []
    for name, option in recipe.corpus_options.items():
        if values[name] and (recipe.corpus is None or values[name] != option.default):
            words += [f"--{name}", values[name]]
    return words + shlex.split(values["local_data_opts"])


def corpus_inputs(recipe: Recipe, values: Mapping[str, str]) -> list[str]:
    """Return files among the values of the corpus's options, such as a manifest, as --in options.

    Edited, they are prepared again.
    """
    words = []
    for name in recipe.corpus_options:
        if values[name] and (recipe.folder / values[name]).is_file():
            words += ["--in", values[name]]
    return words


def assignments(variables: Mapping[str, Value | dict[str, str]]) -> str:
    """Return assignments for bash, with every value quoted.

    >>> print(assignments({"nj": "4", "title": "It's $(x)", "mdd_unit_of": {"ko": "jamo"}}), end="")
    nj=4
    title='It'"'"'s $(x)'
    declare -gA mdd_unit_of=(['ko']=jamo)
    """
    lines = []
    for name, value in variables.items():
        if isinstance(value, str):
            lines.append(f"{name}={shlex.quote(value)}")
        elif isinstance(value, Mapping):
            items = " ".join(f"['{key}']={shlex.quote(item)}" for key, item in value.items())
            lines.append(f"declare -gA {name}=({items})")
        else:
            lines.append(f"{name}=({' '.join(map(shlex.quote, value))})")
    return "\n".join(lines) + "\n"


def warn_of_other_version(root: Path) -> None:
    """Print a warning if run.sh was written by another version of the package than this one."""
    try:
        version = (root / VERSION_FILE).read_text(encoding="utf-8").strip()
    except OSError:  # a clone
        return
    if version != __version__:
        print(
            f"warning: {root}/run.sh and its configurations are of espnet-ext {version}, but "
            f"{__version__} is installed\n"
            f"  remedy: espnet-ext new_recipe NEW_DIR, or install {version}",
            file=sys.stderr,
        )


def print_help(text: str) -> None:
    """Print to standard output, whose reader may have ended (`| head`)."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def main(argv: Sequence[str]) -> int:
    root, start, target, *words = argv
    if words == ["--version"]:
        print(f"espnet-ext {__version__} (versions of its environment: espnet-ext --version)")
        return 0
    warn_of_other_version(Path(root))
    try:
        folder = find_recipe(Path(root), Path(start), named_recipe(words))
        recipe = read_recipe(folder)
        if wants_help(words):
            print_help(help_text(recipe))
            return 0
        on_command_line = read_command_line(words, {**OPTIONS, **recipe.corpus_options})
        values = collect_values(recipe, on_command_line, Path(start))
        variables = derive(values, on_command_line, recipe, Path(root), Path(start))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2 if isinstance(error, UsageError) else 1
    try:
        Path(f"{target}.json").write_text(json.dumps(variables), encoding="utf-8")
        Path(target).write_text(assignments(variables), encoding="utf-8")
    except OSError as error:
        print(f"error: {target}: {error.strerror}", file=sys.stderr)
        print("  remedy: free space there, or set TMPDIR to another folder", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
