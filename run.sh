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
# shellcheck source=local/lm_stages.sh
. "$root/local/lm_stages.sh"
# shellcheck source=local/stress_stages.sh
. "$root/local/stress_stages.sh"
# shellcheck source=local/compare_stages.sh
. "$root/local/compare_stages.sh"
# shellcheck source=local/stages.sh
. "$root/local/stages.sh"
trap 'rm -f "$step_journal"' EXIT

# -- options; a recipe's conf/recipe.conf gives other defaults and adds its own, such as corpus paths

option_usage="usage: ./run.sh [--recipe egs2/<corpus>/dual1] [options]
Paths are taken from the recipe's folder, those of corpora, lexicons and configurations also from where you are.
Exit codes: 0 done, 1 bad input or a failed step (its log is named), 2 wrong usage."

option recipe "$root/egs2/mini_l2/dual1" "folder of the recipe"
option stage 1 "first stage: 1 data, 2 speed perturbation, 3 format, 4 filter, 5 tokens, 6-8 LMs, 10 statistics, 11 train, 12 decode, 13 score, 14 pack, 15-16 upload, 17 compare systems, 18 report"
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
option train_sets "" "several training sets, say \"l2arctic librispeech\": combined, each utterance trains the outputs that it is labelled for"
option valid_set valid "validation set"
option test_sets test "sets to decode and score"
option speed_perturb_factors "" "say \"0.9 1.0 1.1\""
option fs 16k "sample rate in Hz, or 16k"
option channel "" "of audio with several: a number from 0, or mix"
option audio_format flac "of formatted audio: wav, flac or flac.ark"
option min_wav_duration 0.1 "seconds; shorter training utterances are removed, and listed"
option max_wav_duration 20.0 "seconds; longer ones too"
option on_error error "broken utterances in stages 3 and 4: error, skip or quarantine; test sets are never reduced"
option max_broken 0.05 "share of broken utterances beyond which those stages stop all the same"
option read_samples false "decode all audio in stage 4, for damage, silence and clipping"
option token_types "surface=char meaning=char" "outputs and their units: char, jamo, phone, word, bpe, label; token_types_<lang> in recipe.conf wins over its default"
option label_outputs "" "outputs made of label tables, say \"l1=utt2l1 language=utt2lang\"; name them in --token_types too, as l1=label"
option inline_tags "" "such outputs that are also written behind other transcripts as tags, say \"meaning=l1\""
option nbpe 500 "units of token type bpe"
# Models
option systems "so_surface so_meaning do" "systems to train and compare: conf/systems/<name>.yaml"
option train_config train_small.yaml "training configuration: conf/<name> of the recipe, else of the root"
option train_tag "" "name of it in folders (default: from --train_config)"
option train_args "" "further options for ESPnet's training"
option twins "" "systems to train once more from another seed, whose likeness is a ceiling for stage 17"
option twin_seed 1 "that seed (ESPnet's own is 0)"
option stress "" "percentages of labels to take away in stage 17, say \"0 25 50 75 90\", and train with the rest (hours)"
option stress_output surface "output whose labels they are; its results take the place of another one's"
option stress_systems "do do_vectors_sum" "systems trained on what is left; the first one on the complete part alone too"
option stress_seed 0 "which labels are taken away"
option stress_trainings 1 "trainings of each, from several seeds, their errors put together"
option swaps false "put every decoder on every encoder in stage 17 too (minutes a language)"
option diagnose_every 0 "diagnose trainings every so many steps: do the outputs' gradients agree, how far have layers moved; 0 for never"
option use_lm false "train a language model per output (stages 6-8) and decode with it"
option lm_config train_lm.yaml "language model configuration"
option use_ngram false "estimate an n-gram model per output (stage 9) and decode with it"
option ngram_num 4 "tokens of its longest n-gram"
option lm_args "" "further options for ESPnet's language model training"
option decode_config decode.yaml "decoding configuration"
option decode_tag "" "name of it in folders (default: from --decode_config)"
option coupling false "rank the n best of both outputs in pairs, by the learners' errors in the training set"
option inference_args "" "further options for decoding"
option lexicon "" "words and their phones, for scoring text against phones; lexicon_<lang> in recipe.conf wins over its default"
option distance_unit "" "unit of distances between transcripts: char, jamo or phone (default: phone where surface is phones, else char); distance_unit_<lang> in recipe.conf wins over its default"
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
corpus_paths="" # options of a recipe that name what the user must give, "l2arctic|archive" for one of two
read_settings "$recipe/conf/recipe.conf"
parse_options "$@"
((${#arguments[@]} == 0)) || bad_usage "unexpected argument '${arguments[0]}' after --" \
    "ESPnet's options go into --train_args, --lm_args or --inference_args"
recipe=$(cd "$start_dir" && cd "$recipe" && pwd)

check_values() { # numbers and lists that no stage could work with
    local name number numbers=()
    for name in nj inference_nj parallel_trainings num_nodes stress_trainings; do
        ((${!name} > 0)) || bad_usage "--$name ${!name}: at least one is needed" "write, say, --$name 1"
    done
    ((ngram_num > 1)) || bad_usage "--ngram_num $ngram_num: an n-gram has two tokens at least" "write, say, --ngram_num 4"
    for name in langs systems train_set valid_set test_sets token_types; do
        [[ -n ${!name//[[:space:]]/} ]] ||
            bad_usage "--$name is empty" "name at least one, say --$name \"${option_default[$name]:-...}\", or leave it out"
    done
    [[ $skip_stages =~ ^[0-9\ ]*$ ]] ||
        bad_usage "--skip_stages '$skip_stages': not numbers separated by spaces" "write, say, --skip_stages \"7 8\""
    for number in $skip_stages; do numbers+=("$((10#$number))"); done
    skip_stages=${numbers[*]}
    check_stress
    for name in $twins; do
        [[ " $systems " == *" $name "* ]] || bad_usage "--twins: $name is none of --systems" "name systems out of: $systems"
    done
    if [[ -z $hf_repo ]] && { wanted 15 skip_upload || wanted 16 skip_upload; }; then
        bad_usage "--skip_upload false without --hf_repo" "name the repository: --hf_repo user/name"
    fi
}

check_stress() {
    local number name output numbers=() names=()
    for number in $stress; do
        [[ $number =~ ^[0-9]{1,2}$ ]] ||
            bad_usage "--stress '$stress': $number is no percentage below 100" "write, say, --stress \"0 25 50 75 90\""
        [[ " ${numbers[*]} " != *" $((10#$number)) "* ]] ||
            bad_usage "--stress '$stress': $number is there twice" "name every percentage once"
        numbers+=("$((10#$number))")
    done
    stress=${numbers[*]}
    [[ -n $stress ]] || return 0
    for name in $stress_systems; do
        [[ " ${names[*]} " != *" $name "* ]] ||
            bad_usage "--stress_systems '$stress_systems': $name is there twice" "name every system once"
        names+=("$name")
    done
    ((${#names[@]} > 0)) || bad_usage "--stress_systems is empty" "name one, say --stress_systems do"
    stress_systems=${names[*]}
    for name in $langs; do
        output=" $(outputs_of "$name") "
        [[ $output == *" $stress_output "* ]] ||
            bad_usage "--stress_output $stress_output: no output of '$name'" "choose among:${output% }"
    done
}

check_corpus() { # of every word of corpus_paths one alternative is given, and what is given exists
    local names name alternatives given others
    for names in $corpus_paths; do
        given=""
        IFS='|' read -ra alternatives <<<"$names"
        for name in "${alternatives[@]}"; do
            case ${!name:-} in '' | false) continue ;; esac
            given=$name
            [[ ${!name} == true ]] || (cd "$recipe" && [[ -e ${!name} ]]) || {
                printf 'error: --%s %s: no such file or folder\n  remedy: check the path (%s)\n' "$name" "${!name}" \
                    "${option_help[$name]:-path of the corpus}" >&2
                exit 1
            }
        done
        name=${alternatives[0]} others=${names#"${alternatives[0]}"}
        [[ -n $given ]] || bad_usage "--$name is not given" \
            "this recipe needs it${others//|/ or --}: ${option_help[$name]:-path of the corpus}"
    done
}

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
        [[ $own_options == *" $name "* && $name != lexicon || -z ${option_given[$name]:-} || ${!name} == /* ]] ||
            [[ -z ${!name} || ! -e $start_dir/${!name} ]] || declare -g "$name=$start_dir/${!name}"
    done
    check_values
    local several=()
    read -ra several <<<"$train_sets"
    if ((${#several[@]})); then train_set=$(IFS=+ && printf '%s' "${several[*]}"); fi
    if wanted 1 skip_data_prep; then check_corpus; fi
}

find_config() { # find_config KIND NAME: a path from the recipe, its conf/, the root's conf/, the user or the root
    local path known=()
    for path in "$2" "conf/$2" "$root/conf/$2" "$start_dir/$2" "$root/$2"; do
        if [[ -f $path ]]; then
            printf '%s' "$path"
            return
        fi
    done
    for path in conf/"$1"*.yaml "$root"/conf/"$1"*.yaml; do
        # train_lm.yaml is none for --train_config
        if [[ -f $path && ($1 != train || $path != */train_lm*) ]]; then known+=("${path##*/}"); fi
    done
    bad_usage "$2: no such configuration in $recipe/conf or $root/conf" \
        "choose among: $(printf '%s\n' "${known[@]}" | sort -u | tr '\n' ' ')"
}

check_rate() { # features are computed for one rate, with windows in samples: another would go unnoticed
    local rate
    rate=$(awk '/^[^ #]/ { inside = /^frontend_conf:/ }
        inside && match($0, /[ {,]fs: *["'"'"']?[0-9]+k?/) {
            rate = substr($0, RSTART, RLENGTH); gsub(/[^0-9k]/, "", rate); print rate; exit }' "$train_config")
    rate=${rate/%k/000}
    [[ $fs == "${rate:-16000}" ]] ||
        bad_usage "--fs $fs, but $train_config is for audio of ${rate:-16000} Hz (frontend_conf.fs)" \
            "copy it to $recipe/conf with fs, win_length and hop_length for $fs Hz and name that: --train_config NAME"
}

check_gpus() { # asked for on this machine: before any work, as training comes late
    local needed=0 seen
    if ((ngpu > 0)) && { wanted 11 skip_train || [[ $use_lm == true ]] && wanted 7 skip_train; }; then needed=$ngpu; fi
    if [[ $gpu_inference == true && $needed == 0 ]] && wanted 12 skip_eval; then needed=1; fi
    ((needed > 0)) && [[ $cmd == local ]] || return 0
    seen=$("$python" -c 'import torch; print(torch.cuda.device_count())')
    ((seen < needed)) || return 0
    if ((seen == 0)); then seen=no; fi
    printf 'error: %s GPU is visible to PyTorch (%s), %s asked for\n' "$seen" "$python" "$needed" >&2
    printf '  remedy: --ngpu 0 --gpu_inference false works on the processor; or check nvidia-smi and CUDA_VISIBLE_DEVICES\n' >&2
    exit 1
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
    for system in $systems ${stress:+$stress_systems}; do
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
train_config=$(find_config train "$train_config")
# With language models another decoding, of another name, unless one was asked for.
if [[ $use_lm == true || $use_ngram == true ]] && [[ -z ${option_given[decode_config]:-} ]]; then decode_config=decode_lm.yaml; fi
decode_config=$(find_config decode "$decode_config")
further_tags=
if [[ $use_ngram == true ]]; then further_tags+=_ngram; fi
if [[ $coupling == true ]]; then further_tags+=_coupled; fi
if [[ $use_lm == true ]]; then
    lm_config=$(find_config train_lm "$lm_config")
fi
: "${train_tag:=$(tag_of "$train_config")}" "${decode_tag:=$(tag_of "$decode_config")$further_tags}"
if wanted 3 skip_data_prep || wanted 10 skip_train || wanted 11 skip_train; then check_rate; fi

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
check_gpus

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
if [[ $use_ngram == true ]]; then
    stage 9 skip_train "n-gram models" estimate_ngrams
fi
stage 10 skip_train "statistics" collect_statistics
stage 11 skip_train "training" train_systems
stage 12 skip_eval "decoding" decode_sets
stage 13 skip_eval "scoring" score_sets
stage 14 skip_packing "packing" pack_models
stage 15 skip_upload "model card" prepare_upload
stage 16 skip_upload "upload" upload_models
stage 17 skip_eval "comparison of systems" compare_systems
stage 18 skip_eval "report" write_report

summarize
