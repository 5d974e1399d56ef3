#!/usr/bin/env bash
# The staged pipeline: data to report. Without options: the embedded corpus, end to end.
# Stage numbers and option names are those of ESPnet's asr.sh; `./run.sh --help` lists all options.
set -euo pipefail

start_dir=$PWD
root=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cores=$(env -u OMP_NUM_THREADS nproc) # nproc itself obeys that variable
readonly start_dir root cores
# shellcheck source=local/parse_options.sh
. "$root/local/parse_options.sh"
# shellcheck source=local/step.sh
. "$root/local/step.sh"
# shellcheck source=local/launch.sh
. "$root/local/launch.sh"
# shellcheck source=local/stages.sh
. "$root/local/stages.sh"
trap 'rm -f "$step_journal"' EXIT

# -- options; a recipe's conf/recipe.conf gives other defaults and adds its own, such as corpus paths

option_usage="usage: ./run.sh [--recipe egs2/<corpus>/dual1] [options]
Paths are taken from the recipe's folder, corpus paths from where you are.
Exit codes: 0 done, 1 bad input or a failed step (its log is named), 2 wrong usage."

option recipe "$root/egs2/mini_l2/dual1" "folder of the recipe"
option stage 1 "first stage: 1 data, 2 speed perturbation, 3 format, 4 filter, 5 tokens, 6-8 LMs, 10 statistics, 11 train, 12 decode, 13 score, 14 pack, 15-16 upload, 17 compare encoders, 18 report"
option stop_stage 10000 "last stage"
option skip_stages "" "stages to leave out, say \"7 8\""
option skip_data_prep false "leave out stages 1-5"
option skip_train false "leave out stages 6-11"
option skip_eval false "leave out stages 12-13 and 17-18"
option skip_packing true "leave out stage 14"
option skip_upload true "leave out stages 15-16"
option force false "run the chosen stages' steps even if they are done"
option resume_changed false "resume a training although its configuration or data changed"
option quick false "a few utterances and updates, to see that all parts work (in data/quick, dump/quick, exp/quick)"
# Environment and machine
option python "" "interpreter to build the environment on, or an environment's python"
option env "" "environment to use or make (default: a fit active one, else .venv)"
option cmd local "where steps run: local or slurm"
option slurm_options "" "further options for sbatch"
option ngpu 0 "GPUs a training (per node); 0 is CPU"
option gpu_inference false "decode on a GPU"
option num_nodes 1 "machines a training (with --cmd slurm)"
option nj "$cores" "parallel jobs in data preparation and scoring"
option inference_nj 2 "decodings at a time"
option parallel_trainings 1 "trainings at a time, sharing the processor"
# Places
option datadir data "data directories"
option dumpdir dump "formatted data"
option expdir exp "experiments"
option results "" "table of results (default: RESULTS.md, or in --expdir if that is not exp)"
option html "" "page of results (default: report.html, likewise)"
# Data
option langs "ko en" "languages, each with its own models"
option lang "" "the same as --langs"
option train_set train "training set"
option valid_set valid "validation set"
option test_sets test "sets to decode and score"
option speed_perturb_factors "" "say \"0.9 1.0 1.1\""
option fs 16k "sample rate in Hz, or 16k"
option audio_format flac "of formatted audio: wav, flac or flac.ark"
option min_wav_duration 0.1 "seconds; shorter training utterances are removed, and listed"
option max_wav_duration 20.0 "seconds; longer ones too"
option token_types "surface=char meaning=char" "outputs and their units: char, jamo, phone, word, bpe; token_types_<lang> in recipe.conf wins"
option nbpe 500 "units of token type bpe"
# Models
option systems "so_surface so_meaning do" "systems to train and compare: conf/systems/<name>.yaml"
option train_config train_small.yaml "training configuration: conf/<name> of the recipe, else of the root"
option train_tag "" "name of it in folders (default: from --train_config)"
option train_args "" "further options for ESPnet's training"
option use_lm false "train a language model per output (stages 6-8) and decode with it"
option lm_config train_lm.yaml "language model configuration"
option lm_args "" "further options for ESPnet's language model training"
option decode_config decode.yaml "decoding configuration"
option decode_tag "" "name of it in folders (default: from --decode_config)"
option inference_args "" "further options for decoding"
option lexicon "" "words and their phones, for scoring text against phones; lexicon_<lang> in recipe.conf wins"
option title "" "heading of the report"
option hf_repo "" "Hugging Face repository to upload to, <user>/<name>"
readonly own_options=" ${option_names[*]} "

given_recipe() { # the recipe is needed before its options can be known
    local previous="" word
    for word in "$@"; do
        if [[ $previous == --recipe ]]; then recipe=$word; fi
        if [[ $word == --recipe=* ]]; then recipe=${word#*=}; fi
        previous=$word
    done
}

given_recipe "$@"
[[ -d $recipe ]] || bad_usage "--recipe $recipe: no such folder" \
    "name one of: $(cd "$root" && printf '%s ' egs2/*/*/conf/recipe.conf | sed 's|/conf/recipe.conf||g')"
recipe=$(cd "$recipe" && pwd)
corpus_paths="" # options of a recipe that name folders the user must give
read_settings "$recipe/conf/recipe.conf"
parse_options "$@"
recipe=$(cd "$start_dir" && cd "$recipe" && pwd)

settle() { # give every option its final value, or say what is wrong
    local name path
    if [[ -n $lang ]]; then langs=$lang; fi
    fs=${fs/%k/000}
    if [[ $quick == true ]]; then
        for name in "${option_names[@]}"; do # quick_<option> in recipe.conf
            path=${name#quick_}
            [[ $name == "$path" || -n ${option_given[$path]:-} ]] || set_option "$path" "${!name}"
        done
        [[ -n ${option_given[datadir]:-} ]] || datadir=data/quick
        [[ -n ${option_given[dumpdir]:-} ]] || dumpdir=dump/quick
        [[ -n ${option_given[expdir]:-} ]] || expdir=exp/quick
    fi
    for name in datadir dumpdir expdir; do
        [[ ${!name} != *[[:space:],]* ]] ||
            bad_usage "--$name '${!name}' holds a space or comma, which ESPnet's options cannot" "choose another folder"
    done
    local place=$expdir/
    [[ $expdir != exp ]] || place=""
    : "${results:=${place}RESULTS.md}" "${html:=${place}report.html}"
    for name in "${option_names[@]}"; do # a recipe's options may name paths: from where the user is
        [[ $own_options == *" $name "* || -z ${option_given[$name]:-} || ${!name} == /* ]] ||
            [[ -z ${!name} || ! -e $start_dir/${!name} ]] || declare -g "$name=$start_dir/${!name}"
    done
    for name in $corpus_paths; do
        [[ -n ${!name} ]] || ((stage > 1)) || [[ ${skip_data_prep:-} == true ]] ||
            bad_usage "--$name is not given" "this recipe needs it: ${option_help[$name]:-path of the corpus}"
        [[ -z ${!name} || -d ${!name} ]] || {
            printf 'error: --%s %s: no such folder\n  remedy: give the folder that the corpus was unpacked to\n' "$name" "${!name}" >&2
            exit 1
        }
    done
}

find_config() { # find_config NAME: a path as given, or the recipe's conf/, or the root's
    local path
    for path in "$1" "conf/$1" "$root/conf/$1"; do
        if [[ -f $path ]]; then
            printf '%s' "$path"
            return
        fi
    done
    bad_usage "$1: no such configuration in $recipe/conf or $root/conf" \
        "choose among: $(cd "$root/conf" && printf '%s ' ./*.yaml | sed 's|\./||g')"
}

known_systems() {
    local path
    for path in conf/systems/*.yaml "$root"/conf/systems/*.yaml; do
        if [[ -f $path ]]; then basename "$path" .yaml; fi
    done | sort -u | tr '\n' ' '
}

check_systems() { # all names before any work
    local system known
    known=" $(known_systems) "
    for system in $systems; do
        [[ $known == *" $system "* ]] || bad_usage "no system named '$system'" "choose among:${known% }"
    done
}

tag_of() { # tag_of conf/train_small.yaml: small (decode.yaml: decode)
    local name
    name=$(basename "$1")
    name=${name%.yaml}
    printf '%s' "${name#train_}"
}

settle
check_launcher
cd "$recipe"
check_systems
train_config=$(find_config "$train_config")
# With language models another decoding, of another name, unless one was asked for.
if [[ $use_lm == true && -z ${option_given[decode_config]:-} ]]; then decode_config=decode_lm.yaml; fi
decode_config=$(find_config "$decode_config")
if [[ $use_lm == true ]]; then
    lm_config=$(find_config "$lm_config")
fi
: "${train_tag:=$(tag_of "$train_config")}" "${decode_tag:=$(tag_of "$decode_config")}"

# -- the environment; the python below is the one of every step

setup=(--extras "synth report")
[[ -z $python ]] || setup+=(--python "$python")
[[ -z $env ]] || setup+=(--venv "$env")
(cd "$start_dir" && bash "$root/local/setup_env.sh" "${setup[@]}") >"$step_journal"
python=$(<"$step_journal")
: >"$step_journal"
unset PYTHONDONTWRITEBYTECODE # compiling torch anew would cost every process six seconds
PATH=$(dirname "$python"):$PATH # `python` in a recipe's local/data.sh is this one
export PATH PYTHONPATH=$root${PYTHONPATH:+:$PYTHONPATH} PYTHONUNBUFFERED=1 PYTHONIOENCODING=utf-8

# -- the stages (local/stages.sh)

log_dir=$expdir/log
began=$SECONDS reported=false
stage 1 skip_data_prep "data" prepare_data
if [[ -n $speed_perturb_factors ]]; then
    stage 2 skip_data_prep "speed perturbation" perturb_speed
    train_set=${train_set}_sp
fi
stage 3 skip_data_prep "format audio" format_audio
stage 4 skip_data_prep "filter and validate" filter_data
stage 5 skip_data_prep "token lists" list_tokens
if [[ $use_lm == true ]]; then
    stage 6 skip_train "LM statistics" collect_lm_statistics
    stage 7 skip_train "LM training" train_lms
    stage 8 skip_train "LM perplexity" measure_perplexity
fi
stage 10 skip_train "statistics" collect_statistics
stage 11 skip_train "training" train_systems
stage 12 skip_eval "decoding" decode_sets
stage 13 skip_eval "scoring" score_sets
stage 14 skip_packing "packing" pack_models
stage 15 skip_upload "model card" prepare_upload
stage 16 skip_upload "upload" upload_models
stage 17 skip_eval "encoder comparison" compare_encoders
stage 18 skip_eval "report" write_report

summarize
