"""The options of `run.sh`, declared once: names, ESPnet's aliases, defaults, kinds, help.

Names and groups are those of ESPnet's `asr.sh`. `--help`, the command line, `conf/recipe.conf` and
the tests read this table. Needs only the standard library of Python 3.9.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import replace

from espnet_ext.pipeline.baselines import SEARCHES
from espnet_ext.pipeline.option import Option
from espnet_ext.pipeline.unit_options import UNIT_OPTIONS

TOKEN_TYPES = ("char", "jamo", "phone", "word", "bpe", "hugging_face", "label")
UNITS = ("char", "jamo", "phone")  # of distances between transcripts


def default_jobs() -> str:
    """Return the number of processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return str(len(os.sched_getaffinity(0)))
    return str(os.cpu_count() or 1)


GROUPS: dict[str, tuple[Option, ...]] = {
    "General": (
        Option("recipe", "egs2/mini_l2/dual1", "folder of the recipe"),
        Option(
            "stage",
            "1",
            "first stage: 1 data preparation, 2 speed perturbation, 3 format audio, 4 filter and "
            "validate, 5 token lists and discrete units, 6-8 language models, 9 n-gram models, "
            "10 statistics, 11 training, 12 decoding, 13 scoring, 14 packing, 15-16 upload, "
            "17 comparison of systems, 18 report",
            "whole",
        ),
        Option("stop_stage", "10000", "last stage", "whole"),
        Option("skip_stages", "", 'stages to skip, for example "7 8"', "words"),
        Option("skip_data_prep", "false", "skip stages 1 to 5", "boolean"),
        Option("skip_train", "false", "skip stages 6 to 11", "boolean"),
        Option("skip_eval", "false", "skip stages 12, 13, 17 and 18", "boolean"),
        Option("skip_packing", "true", "skip stage 14", "boolean"),
        Option("skip_upload", "true", "skip stages 15 and 16", "boolean"),
        Option(
            "force", "false", "run the steps of the chosen stages even if they are done", "boolean"
        ),
        Option(
            "overwrite",
            "false",
            "let steps replace files that they did not write, or that were edited since",
            "boolean",
        ),
        Option(
            "resume_changed",
            "false",
            "resume a training although its configuration or data changed, instead of moving its "
            "folder aside and starting again",
            "boolean",
        ),
        Option(
            "quick",
            "false",
            "a few utterances and updates, to see that all parts work (in data/quick, dump/quick "
            "and exp/quick)",
            "boolean",
        ),
        Option("ngpu", "0", "GPUs per node of a training; 0 trains on the CPU", "whole"),
        Option("num_nodes", "1", "nodes per training (needs --cmd slurm)", "count"),
        Option("nj", default_jobs(), "parallel jobs of data preparation and scoring", "count"),
        Option("inference_nj", "2", "parallel decoding jobs", "count"),
        Option("parallel_trainings", "1", "parallel trainings; they share the CPU cores", "count"),
        Option("gpu_inference", "false", "make discrete units and decode on a GPU", "boolean"),
        Option("datadir", "data", "data directories", required=True),
        Option("dumpdir", "dump", "formatted data", required=True),
        Option("expdir", "exp", "experiments, logs and the report", required=True),
        Option(
            "python",
            "",
            "interpreter to build the environment with, or the python of an environment to use",
        ),
        Option("env", "", "environment to use or create (default: the active one, else .venv)"),
        Option("cmd", "local", "where jobs run", choices=("local", "slurm")),
        Option("slurm_options", "", "options of sbatch for all jobs", "arguments"),
        Option("slurm_cpu_options", "", "options of sbatch for jobs without a GPU", "arguments"),
        Option("slurm_gpu_options", "", "options of sbatch for jobs with a GPU", "arguments"),
    ),
    "Data preparation": (
        Option(
            "langs",
            "ko en",
            "languages; each has its own models",
            "words",
            aliases=("lang",),
            required=True,
        ),
        Option("train_set", "train", "training set", required=True),
        Option(
            "train_sets",
            "",
            'several training sets, for example "l2arctic librispeech": they are combined, and '
            "each utterance trains the outputs that it is labelled for",
            "words",
        ),
        Option("valid_set", "valid", "validation set", required=True),
        Option("test_sets", "test", "sets to decode and score", "words", required=True),
        Option("local_data_opts", "", "further options for local/data.sh", "arguments"),
        Option(
            "on_error",
            "error",
            "what stages 3 and 4 do with broken utterances; test sets are never reduced",
            choices=("error", "skip", "quarantine"),
        ),
        Option(
            "max_broken",
            "0.05",
            "largest share of broken utterances that stages 3 and 4 accept",
            "real",
        ),
        Option(
            "allow_pipes",
            "false",
            "run the commands in wav.scp in stages 2 and 3; only for data that you trust",
            "boolean",
        ),
        Option(
            "read_samples",
            "false",
            "decode all audio in stage 4, to find damage, silence and clipping",
            "boolean",
        ),
        Option(
            "shards",
            "0",
            "stage 4 also writes the training set as this many tar archives in WebDataset layout, "
            "and training reads them in sequence (batching: buckets); a multiple of the number of "
            "GPUs (0: none)",
            "whole",
        ),
        Option(
            "label_outputs",
            "",
            'outputs made from label tables, for example "l1=utt2l1 language=utt2lang"; name them '
            "in --token_types too, as l1=label",
            "words",
        ),
        Option(
            "inline_tags",
            "",
            'such outputs that are also tags in other transcripts, for example "meaning=l1"',
            "words",
        ),
    ),
    "Speed perturbation": (
        Option("speed_perturb_factors", "", 'factors, for example "0.9 1.0 1.1"', "words"),
    ),
    "Feature extraction": (
        Option(
            "audio_format",
            "flac",
            "format of the formatted audio",
            choices=("wav", "flac", "wav.ark", "flac.ark"),
        ),
        Option("fs", "16k", "sample rate in Hz, or 16k"),
        Option("channel", "", "channel of multi-channel audio: a number from 0, or mix"),
        Option(
            "min_wav_duration",
            "0.1",
            "shorter training utterances are removed, and listed (seconds)",
            "real",
        ),
        Option(
            "max_wav_duration",
            "20.0",
            "longer training utterances are removed, and listed (seconds)",
            "real",
        ),
    ),
    "Tokenization": (
        Option(
            "token_types",
            "surface=char meaning=char",
            f"outputs and their token types: {', '.join(TOKEN_TYPES)}; token_types_<lang> in "
            "recipe.conf takes precedence over its default",
            "words",
            required=True,
        ),
        Option("nbpe", "500", "vocabulary size of token type bpe", "count"),
        Option("bpemode", "unigram", "SentencePiece model of it", choices=("unigram", "bpe")),
        Option(
            "nlsyms_txt",
            "",
            "non-linguistic symbols, one per line: each is one token, and scoring removes them",
            "path",
        ),
    ),
    "Discrete units": UNIT_OPTIONS,
    "Language models": (
        Option(
            "use_lm",
            "false",
            "train a language model per output (stages 6-8), decode with it",
            "boolean",
        ),
        Option("lm_config", "train_lm.yaml", "configuration of their training"),
        Option("lm_args", "", "further options for ESPnet's language model training", "arguments"),
        Option(
            "use_ngram",
            "false",
            "estimate an n-gram model per output (stage 9), decode with it",
            "boolean",
        ),
        Option("ngram_num", "4", "order of the n-gram models", "count"),
    ),
    "ASR models": (
        Option(
            "systems",
            "so_surface so_meaning do",
            "systems to train and compare: conf/systems/<name>.yaml; all: see docs/mitigations.md",
            "words",
            required=True,
        ),
        Option(
            "asr_config",
            "train_small.yaml",
            "training configuration: conf/<name> of the recipe or of the repository",
            aliases=("train_config",),
        ),
        Option(
            "pretrained",
            "",
            "checkpoint for a configuration with frontend: pretrained: a folder or a name on the "
            "Hugging Face hub",
            "path",
        ),
        Option(
            "asr_tag",
            "",
            "suffix of the experiment folders (default: from --asr_config)",
            aliases=("train_tag",),
        ),
        Option(
            "asr_args",
            "",
            "further options for ESPnet's training; with --quick true, after those of a quick run",
            "arguments",
            aliases=("train_args",),
        ),
        Option(
            "asr_exp",
            "",
            "folder of the model, elsewhere than in --expdir (with one language and one system); "
            "exp/<lang>/<system>_<asr_tag> becomes a link to it",
        ),
        Option(
            "asr_stats_dir",
            "",
            "folder of the statistics of stage 10 (with one language; default: exp/<lang>/stats)",
        ),
        Option(
            "feats_normalize",
            "",
            "normalisation of features (default: as the configuration says)",
            choices=("", "global_mvn", "utterance_mvn", "none"),
        ),
        Option(
            "log_to",
            "",
            "where trainings send their curves: tensorboard, wandb or both; none: nowhere "
            "(default: as the configuration says)",
            "words",
        ),
        Option(
            "twins",
            "",
            "systems to train again with another seed, as a ceiling for stage 17",
            "words",
        ),
        Option("twin_seed", "1", "that seed (ESPnet's own default is 0)", "whole"),
        Option(
            "train_baseline",
            "false",
            "also train the stock ESPnet model of the single-output system, so_<output>, of each "
            "output of the systems, on the same data, as the baseline stock_<output>",
            "boolean",
        ),
        Option(
            "diagnose_every",
            "",
            "while training, measure every N steps how well the gradients of the outputs agree and "
            "how far layers have moved; 0: never (default: as the configuration says)",
            "whole",
        ),
    ),
    "Decoding": (
        Option(
            "inference_config",
            "decode.yaml",
            "decoding configuration (default with a language model: decode_lm.yaml)",
            aliases=("decode_config",),
        ),
        Option(
            "inference_tag",
            "",
            "name of the decoding in folders (default: from --inference_config)",
            aliases=("decode_tag",),
        ),
        Option("inference_args", "", "further options for decoding", "arguments"),
        Option(
            "coupling",
            "false",
            "also re-rank pairs of the two n-best lists by the learners' errors in the training "
            "set, and report that as <system>_coupled",
            "boolean",
        ),
        Option("canonical_prior", "", "also decode with canonical forms: prompt twopass", "words"),
    ),
    "Scoring and comparison": (
        Option(
            "lexicon",
            "",
            "words and their phones: to compare text with phones, and for --canonical_prior "
            "twopass; lexicon_<lang> in recipe.conf takes precedence over its default",
            "path",
        ),
        Option(
            "distance_unit",
            "",
            "unit of distances between transcripts (default: phone if the surface is phones, else "
            "char); distance_unit_<lang> in recipe.conf takes precedence over its default",
            choices=("", *UNITS),
        ),
        Option(
            "baselines",
            "",
            "other recognisers to compare the systems with: NAME=DIR or NAME:OUTPUT=DIR for each. "
            "DIR has hypotheses as <set>/text, or is a model to decode: a folder (also of stock "
            "ESPnet), an archive, or a name on the Hugging Face hub. {lang} and {set} in it stand "
            "for the language and the test set. NAME@SEARCH=DIR sets its --baseline_search",
            "arguments",
        ),
        Option(
            "baseline_search",
            "project",
            "how baselines that are models are decoded: by the search of this project with "
            "--inference_config, or by stock asr_inference of ESPnet",
            choices=SEARCHES,
        ),
        Option(
            "baseline_clean",
            "false",
            "adapt case, punctuation and English numbers of baselines to those of the references",
            "boolean",
        ),
        Option(
            "translations",
            "",
            "outputs that are translations: stage 17 scores them by BLEU and chrF (sacrebleu)",
            "words",
        ),
        Option(
            "bleu_tokenize",
            "auto",
            "sacrebleu's tokenization for BLEU; auto follows from the language",
        ),
        Option(
            "swaps",
            "false",
            "stage 17 also puts every decoder on every encoder (minutes per language)",
            "boolean",
        ),
        Option(
            "stress",
            "",
            "percentages of labels that stage 17 removes, to train on the rest, for example "
            '"0 25 50 75 90" (hours)',
            "words",
        ),
        Option("stress_output", "surface", "output whose labels are removed"),
        Option(
            "stress_systems",
            "do do_vectors_sum",
            "systems trained on all that is left; the first one also on the fully labelled part",
            "words",
        ),
        Option("stress_seed", "0", "seed that chooses the removed labels", "whole"),
        Option(
            "stress_trainings",
            "1",
            "trainings of each, with consecutive seeds; errors are pooled",
            "count",
        ),
    ),
    "Report": (
        Option("title", "", "heading of the report"),
        Option("caveat", "", "a limit of all its numbers, for example synthetic speech"),
        Option(
            "results",
            "",
            "Markdown page to write, with its details beside it (default: RESULTS.md in --expdir)",
        ),
        Option("html", "", "page to write (default: report.html in --expdir)"),
        Option(
            "update_results",
            "false",
            "also copy the report to the recipe's folder, where git tracks RESULTS.md",
            "boolean",
        ),
    ),
    "Upload": (Option("hf_repo", "", "Hugging Face repository, <user>/<name>"),),
}

OPTIONS: dict[str, Option] = {
    option.name: option for options in GROUPS.values() for option in options
}
ALIASES: dict[str, str] = {
    alias: option.name for option in OPTIONS.values() for alias in option.aliases
}
# An option with one of these names may have a value per language: token_types_ko in recipe.conf
PER_LANGUAGE = ("token_types", "lexicon", "distance_unit")


def canonical_name(name: str) -> str:
    """Return the documented name of an option given by an alias; other names as they are.

    >>> canonical_name("train_config"), canonical_name("nj")
    ('asr_config', 'nj')
    """
    return ALIASES.get(name, name)


def known_names() -> Iterable[str]:
    """Return the names and aliases of all options."""
    return [*OPTIONS, *ALIASES]


def derived_option(name: str) -> Option | None:
    """Return the option of a name that is made from another's, or None.

    `token_types_ko` is the value for one language, `quick_asr_args` the value with --quick true.

    >>> derived_option("quick_train_args").name, derived_option("lexicon_en").kind
    ('quick_asr_args', 'path')
    """
    if name.startswith("quick_") and canonical_name(name[len("quick_") :]) in OPTIONS:
        option = OPTIONS[canonical_name(name[len("quick_") :])]
        return replace(option, name=f"quick_{option.name}")
    for base in PER_LANGUAGE:
        if name.startswith(f"{base}_"):
            return replace(OPTIONS[base], name=name)
    return None
