#!/usr/bin/env bash
# Cross-validation on L2-ARCTIC with a pre-trained model. Every speaker is left out once, and with the
# speaker a quarter of the sentences. See README.md.
set -euo pipefail

usage() {
    cat <<'END'
usage: ./run.sh --l2arctic DIR --speechocean762 DIR [--<name> <value> ...]

Trains on speechocean762, continues the training on L2-ARCTIC without one speaker and a quarter of the
sentences, and tests on that speaker. The results of all speakers are pooled.

  --l2arctic DIR        the corpus, unpacked
  --speechocean762 DIR  the corpus, unpacked
  --pretrained MODEL    Whisper checkpoint, a folder or a name on the Hugging Face hub
                        (default: openai/whisper-base)
  --speakers LIST       speakers to leave out, one after the other (default: all of --l2arctic)
  --systems LIST        systems to train (default: so_surface so_meaning_attention do)
  --dir DIR             where everything is written (default: exp)
  --stage N             first stage: 1 speechocean762: data and token lists, 2 training on it,
                        3 L2-ARCTIC: data of each fold, 4 training, 5 decoding, 6 pooled scores and
                        report, 7 the same for speechocean762's test set (default: 1)
  --stop_stage N        last stage (default: 7)
  --nj N                parallel decoding jobs (default: 2)
  --parallel_trainings N  parallel trainings; they share the CPU cores (default: 2)
  --ngpu N              GPUs per training (default: 0)

A second call continues where the first one stopped. Exit codes: as the repository's run.sh.
END
}

bad_usage() { # bad_usage MESSAGE REMEDY
    printf 'error: %s\n  remedy: %s\n' "$1" "$2" >&2
    exit 2
}

recipe=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "${recipe}/../../.." && pwd)
l2arctic="" speechocean762="" pretrained=openai/whisper-base speakers=""
systems="so_surface so_meaning_attention do" dir=${recipe}/exp
stage=1 stop_stage=7 nj=2 parallel_trainings=2 ngpu=0
while (($#)); do
    case $1 in
        -h | --help) usage && exit 0 ;;
        --l2arctic | --speechocean762 | --pretrained | --speakers | --systems | --dir | --stage | \
            --stop_stage | --nj | --parallel_trainings | --ngpu)
            (($# > 1)) || bad_usage "$1 needs a value" "write $1 VALUE; see --help"
            printf -v "${1#--}" '%s' "$2"
            shift 2
            ;;
        --*=*) bad_usage "unknown option $1" "write option and value with a space: ${1%%=*} ${1#*=}" ;;
        *) bad_usage "unknown option $1" "see --help" ;;
    esac
done
for option in stage stop_stage nj parallel_trainings ngpu; do
    [[ ${!option} =~ ^[0-9]{1,9}$ ]] ||
        bad_usage "--${option} '${!option}' is not a whole number" "write, for example, --${option} 1"
done
((1 <= 10#${stage} && 10#${stage} <= 10#${stop_stage} && 10#${stage} <= 7)) ||
    bad_usage "there are no stages from ${stage} to ${stop_stage}" "choose from 1 to 7; see --help"
((10#${nj} && 10#${parallel_trainings})) || bad_usage "--nj and --parallel_trainings are at least 1" "see --help"
[[ -n ${systems// /} ]] || bad_usage "--systems is empty" "name at least one; see --help"
for system in ${systems}; do
    [[ -f ${root}/conf/systems/${system}.yaml ]] ||
        bad_usage "--systems: there is no conf/systems/${system}.yaml" "choose a file of ${root}/conf/systems"
done
[[ -d ${l2arctic} ]] || bad_usage "--l2arctic '${l2arctic}' is not a folder" "name the unpacked corpus"
[[ -d ${speechocean762} ]] ||
    bad_usage "--speechocean762 '${speechocean762}' is not a folder" "name the unpacked corpus"
l2arctic=$(realpath "${l2arctic}") speechocean762=$(realpath "${speechocean762}")
mkdir -p "${dir}" && dir=$(realpath "${dir}")
if [[ -e ${pretrained} ]]; then pretrained=$(realpath "${pretrained}"); fi
declare -A fold_of=() # speaker → number of the quarter of the sentences that is left out with the speaker
corpus_speakers=()
for folder in "${l2arctic}"/*/annotation; do
    speaker=${folder%/*} && speaker=${speaker##*/}
    [[ -d ${folder} && ${speaker} != suitcase_corpus ]] || continue
    fold_of[${speaker}]=$((${#corpus_speakers[@]} % 4 + 1))
    corpus_speakers+=("${speaker}")
done
read -ra speaker_list <<<"${speakers:-${corpus_speakers[*]}}"
((${#speaker_list[@]})) || bad_usage "${l2arctic} has no folders <SPEAKER>/annotation" "name the folder with ABA, ASI, …"
for speaker in "${speaker_list[@]}"; do
    [[ -n ${fold_of[${speaker}]:-} ]] ||
        bad_usage "--speakers: ${l2arctic} has no annotated speaker ${speaker}" "choose among: ${corpus_speakers[*]}"
done
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}

is_stage() { ((stage <= $1 && $1 <= stop_stage)); }

recipe_run() { # recipe_run CORPUS NAME OPTION…: run stages of a corpus; NAME is the folder of its files
    local corpus=$1 name=$2
    shift 2
    "${root}/run.sh" --recipe "${root}/egs2/${corpus}/dual1" --langs en --datadir "${dir}/${name}/data" \
        --dumpdir "${dir}/${name}/dump" --expdir "${dir}/${name}/exp" \
        --token_types "surface=phone meaning=hugging_face" --pretrained "${pretrained}" \
        --asr_config train_whisper_base.yaml --inference_config "${recipe}/conf/decode.yaml" \
        --inference_nj "${nj}" --parallel_trainings "${parallel_trainings}" --ngpu "${ngpu}" "$@"
}

# Options of the trainings, beside conf/train_whisper_base.yaml
batches="--batch_type length --batch_bins 160000" # 10 s of speech
first_options="--max_epoch 5 ${batches}"
further_options="--max_epoch 4 ${batches} --finetune_conf freeze_epochs=0 --scheduler_conf pct_start=0.1"
priors=(prompt twopass) # the surface is decoded with canonical forms too

data_of_fold() { # data_of_fold SPEAKER OPTION…
    local speaker=$1
    shift
    recipe_run l2arctic "${speaker}" --l2arctic "${l2arctic}" --test_sets "test test_seen" \
        --local_data_opts "--split disjoint --test_speakers ${speaker} --fold ${fold_of[${speaker}]}" "$@"
}

if is_stage 1; then
    recipe_run speechocean762 speechocean762 --speechocean762 "${speechocean762}" --stop_stage 5
fi

if is_stage 2; then
    for system in ${systems}; do
        recipe_run speechocean762 speechocean762 --stage 10 --stop_stage 11 --systems "${system}" \
            --asr_tag first --asr_args "${first_options}"
    done
fi

if is_stage 3; then
    for speaker in "${speaker_list[@]}"; do
        data_of_fold "${speaker}" --stop_stage 4
        # The tokens of the model that is trained further
        cp -r "${dir}/speechocean762/data/en_token_list" "${dir}/${speaker}/data/"
    done
fi

for sub_stage in 4 5; do
    is_stage "${sub_stage}" || continue
    stages=(--stage 10 --stop_stage 11)
    if ((sub_stage == 5)); then stages=(--stage 12 --stop_stage 12 --canonical_prior "${priors[*]}"); fi
    for speaker in "${speaker_list[@]}"; do
        for system in ${systems}; do
            first=${dir}/speechocean762/exp/en/${system}_first
            data_of_fold "${speaker}" "${stages[@]}" --systems "${system}" --asr_tag folds \
                --asr_args "--init_param ${first}/valid.acc.ave.pth ${further_options}"
        done
    done
done

if is_stage 5; then # the test set of speechocean762, by the first models
    recipe_run speechocean762 speechocean762 --stage 12 --stop_stage 12 --systems "${systems}" \
        --asr_tag first --canonical_prior "${priors[*]}"
fi

if is_stage 6; then
    # Pool the test sets and the hypotheses of all folds, as if one system had decoded them
    # shellcheck source=../../../local/path.sh
    . "${root}/local/path.sh"
    for set in test test_seen; do
        inputs=() # of the folds
        for speaker in "${speaker_list[@]}"; do inputs+=("${dir}/${speaker}/dump/raw/en/${set}"); done
        python -m espnet_ext.bin.combine --output "${dir}/pooled/dump/raw/en/${set}" \
            --overwrite true --inputs "${inputs[@]}"
        for system in ${systems}; do
            for tag in decode "${priors[@]/#/decode_}"; do
                decoded=exp/en/${system}_folds/${tag}/${set}
                [[ -d ${dir}/${speaker_list[0]}/${decoded} ]] || continue # not with this system
                inputs=()
                for speaker in "${speaker_list[@]}"; do inputs+=("${dir}/${speaker}/${decoded}"); done
                python "${recipe}/local/pool_decodings.py" "${dir}/pooled/${decoded}" "${inputs[@]}"
            done
        done
    done
    # Word errors of the meaning, whose tokens are pieces of words. Stage 17 runs the analyses of texts:
    # there is no model of all folds.
    recipe_run l2arctic pooled --stage 13 --skip_stages "14 15 16" --systems "${systems}" \
        --test_sets "test test_seen" --asr_tag folds --token_types "surface=phone meaning=word" \
        --canonical_prior "${priors[*]}" \
        --title "L2-ARCTIC: each speaker left out once, with a quarter of the sentences"
fi

if is_stage 7; then
    recipe_run speechocean762 speechocean762 --stage 13 --skip_stages "14 15 16" \
        --systems "${systems}" --asr_tag first --canonical_prior "${priors[*]}" \
        --title "speechocean762: a pre-trained model, fine-tuned"
fi
