#!/usr/bin/env bash
# Run a grid of trainings: data, subsets, trainings, test set, similarity of encoders, report.
# A recipe calls it: egs2/mini_l2/study1/run.sh. The design is in conf/study.yaml of the recipe.
# shellcheck disable=SC2154 # `study_command settings` assigns variables
set -euo pipefail

usage() {
    cat <<'END'
usage: egs2/<corpus>/study1/run.sh [--<name> <value> ...] [-- <options of run.sh>]

Trains the systems of conf/study.yaml with several seeds, on shares of the training set and under
several data conditions, and reports the differences.

  --plan BOOL        true: only list the trainings, which are done, and the hours (default: false)
  --cells LIST       only some trainings: "languages=ko systems=do,so_surface seeds=0 shares=1"
  --hours H          start no further call of run.sh that would not end within H hours
  --test BOOL        true: decode and score the test set, at the end of the study (default: false)
  --stage N          first stage: 1 data of each condition, 2 subsets of the training set, 3 training,
                     decoding and scoring of the validation set, 4 test set (with --test true),
                     5 similarity of the encoders and other analyses of the models,
                     6 collected results and report (default: 1)
  --stop_stage N     last stage (default: 6)
  --dir DIR          where everything is written (default: exp)
  --parallel N       parallel trainings and decodings (default: 2)
  --ngpu N           GPUs per training (default: 0)
  --verify BOOL      true: let run.sh check trainings that are done, too (default: false)
  --quick BOOL       true: a few utterances and updates, to see that all parts work, in exp/quick
                     (default: false)
  --study DIR        folder with conf/study.yaml

A second call continues where the first one stopped. To stop a run after its current call of run.sh,
create the file stop in --dir. Paths in options of run.sh must be absolute.
Exit codes: 0 done, 1 bad input or a failed step, 2 wrong usage, 3 stopped early, by --hours or the
file stop.
END
}

bad_usage() { # bad_usage MESSAGE REMEDY
    printf 'error: %s\n  remedy: %s\n' "$1" "$2" >&2
    exit 2
}

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
study="" plan=false cells="" hours="" test=false stage=1 stop_stage=6 dir="" parallel=2 ngpu=0
verify=false quick=false further=()
while (($#)); do
    case $1 in
        -h | --help) usage && exit 0 ;;
        --plan | --cells | --hours | --test | --stage | --stop_stage | --dir | --parallel | --ngpu | \
            --verify | --quick | --study)
            (($# > 1)) || bad_usage "$1 needs a value" "write $1 VALUE; see --help"
            printf -v "${1#--}" '%s' "$2"
            shift 2
            ;;
        --) shift && further=("$@") && break ;;
        *) bad_usage "unknown option $1" "see --help; options of run.sh stand behind --" ;;
    esac
done
for name in plan test verify quick; do
    [[ ${!name} == true || ${!name} == false ]] ||
        bad_usage "--${name} ${!name}: neither true nor false" "--${name} true"
done
for name in stage stop_stage parallel ngpu; do
    [[ ${!name} =~ ^[0-9]+$ ]] || bad_usage "--${name} ${!name}: not a whole number" "--${name} 1"
done
[[ -z ${hours} || ${hours} =~ ^[0-9]+(\.[0-9]+)?$ ]] || bad_usage "--hours ${hours}: not a number" "--hours 6"
# Here too, so that a wrong --cells ends before the environment is built; study/design.py checks all
for word in ${cells}; do
    [[ ${word} =~ ^(conditions|languages|shares|seeds|systems)=.+$ ]] ||
        bad_usage "--cells: '${word}' is not AXIS=VALUE[,VALUE]" "axes: conditions, languages, shares, seeds, systems"
done
[[ -n ${study} && -f ${study}/conf/study.yaml ]] ||
    bad_usage "--study '${study}': no folder with conf/study.yaml" "call run.sh of a study1 recipe"
study=$(cd "${study}" && pwd)
config=${study}/conf/study.yaml
dir=${dir:-${study}/exp}
if [[ ${quick} == true ]]; then dir=${dir}/quick; fi
mkdir -p "${dir}" && dir=$(cd "${dir}" && pwd)

python=$(bash "${root}/local/setup_env.sh" --extras "synth report")
export PYTHONPATH=${root}${PYTHONPATH:+:${PYTHONPATH}}

espnet_ext() { "${python}" -m "espnet_ext.bin.$1" "${@:2}"; }
study_command() { espnet_ext study "$1" --study "${config}" --dir "${dir}" --quick "${quick}" "${@:2}"; }
is_stage() { ((stage <= $1 && $1 <= stop_stage)); }

if [[ ${plan} == true ]]; then
    study_command plan --cells "${cells}"
    exit 0
fi

# recipe, run_options, train_options, diagnose_every, drop_output, drop_seed, valid_set, test_set,
# similarity, analyses and, by condition, condition_options
declare -A condition_options=()
assignments=$(study_command settings)
eval "${assignments}"
if [[ ${quick} == true ]]; then train_options+=" --max_epoch 1"; fi

must_stop() { # must_stop SECONDS: whether work that needs SECONDS must not begin
    if [[ -e ${dir}/stop ]]; then
        echo "stopped: ${dir}/stop exists; remove it to continue" >&2
        return 0
    fi
    [[ -n ${hours} ]] || return 1
    if "${python}" -c "import sys; sys.exit(not ${SECONDS} + $1 > 3600 * ${hours})"; then
        echo "stopped after ${SECONDS} s: the next trainings need about $1 s; the same command continues" >&2
        return 0
    fi
    return 1
}

stop_if_due() { # stop_if_due SECONDS
    if must_stop "$1"; then exit 3; fi
}

recipe_run() { # recipe_run CONDITION LANGUAGE EXPDIR OPTION…: stages of run.sh for a condition
    local folder=${dir}/$1/$2 options=()
    read -ra options <<<"${condition_options[$1]} ${run_options}"
    if [[ ${quick} == true ]]; then options+=(--quick true); fi
    "${root}/run.sh" --recipe "${root}/${recipe}" --langs "$2" --datadir "${folder}/data" \
        --dumpdir "${folder}/dump" --expdir "${folder}/$3" --inference_tag decode \
        --parallel_trainings "${parallel}" --inference_nj "${parallel}" --ngpu "${ngpu}" \
        "${options[@]}" "${further[@]}" "${@:4}"
}

# Lines "CONDITION LANGUAGE SHARE SEED BATCHES SECONDS SYSTEMS", one per call of run.sh
calls=() all_calls=() # of cells that are not done; of all
listed=$(study_command plan --calls true --per_call "${parallel}" --cells "${cells}" --verify "${verify}")
[[ -z ${listed} ]] || mapfile -t calls <<<"${listed}"
listed=$(study_command plan --calls true --per_call "${parallel}" --cells "${cells}" --verify true)
[[ -z ${listed} ]] || mapfile -t all_calls <<<"${listed}"
((${#all_calls[@]})) || bad_usage "--cells '${cells}': no training of the design" "see --plan true"
declare -A is_seen=()
data=() subsets=() groups=() # "CONDITION LANGUAGE", … with the share, … with the seed
for line in "${all_calls[@]}"; do
    IFS=$'\t' read -r condition lang share seed _ <<<"${line}"
    for key in "${condition} ${lang}" "${condition} ${lang} ${share}" "${condition} ${lang} ${share} ${seed}"; do
        [[ -z ${is_seen[${key}]:-} ]] || continue
        is_seen[${key}]=1
        case $(wc -w <<<"${key}") in
            2) data+=("${key}") ;;
            3) subsets+=("${key}") ;;
            4) groups+=("${key}") ;;
        esac
    done
done

if is_stage 1; then
    for item in "${data[@]}"; do
        read -r condition lang <<<"${item}"
        stop_if_due 0
        recipe_run "${condition}" "${lang}" prepare --stage 1 --stop_stage 5
    done
fi

if is_stage 2; then # fully labelled utterances; a smaller share is a part of a larger one
    for item in "${subsets[@]}"; do
        read -r condition lang share <<<"${item}"
        raw=${dir}/${condition}/${lang}/dump/raw/${lang}
        espnet_ext drop_labels --input "${raw}/train" --output "${raw}/train_share${share}" \
            --output_name "${drop_output}" --seed "${drop_seed}" --outputs "surface meaning" \
            --share "$("${python}" -c "print(1 - ${share} / 100)")" --complete true
    done
fi

if is_stage 3; then
    for line in "${calls[@]}"; do
        IFS=$'\t' read -r condition lang share seed batches seconds systems <<<"${line}"
        stop_if_due "${seconds}"
        echo "== ${condition} ${lang} ${share} % seed ${seed}: ${systems} ($(date +%H:%M:%S))"
        training="--seed ${seed} --num_iters_per_epoch ${batches} ${train_options}"
        recipe_run "${condition}" "${lang}" "share${share}" --stage 10 --stop_stage 13 \
            --train_set "train_share${share}" --systems "${systems}" --asr_tag "seed${seed}" \
            --asr_args "${training}" --diagnose_every "${diagnose_every}" --test_sets "${valid_set}"
    done
fi

if is_stage 4 && [[ ${test} == true ]]; then
    mapfile -t calls < <(study_command plan --calls true --per_call 1000 --cells "${cells}" \
        --set "${test_set}" --verify "${verify}")
    for line in "${calls[@]}"; do
        IFS=$'\t' read -r condition lang share seed batches _ systems <<<"${line}"
        stop_if_due 120
        trained=() # decode what is trained
        for system in ${systems}; do
            model=${dir}/${condition}/${lang}/share${share}/${lang}/${system}_seed${seed}
            if [[ -e ${model}/model.pth ]]; then trained+=("${system}"); fi
        done
        ((${#trained[@]})) || continue
        echo "== ${test_set}: ${condition} ${lang} ${share} % seed ${seed}: ${trained[*]} ($(date +%H:%M:%S))"
        recipe_run "${condition}" "${lang}" "share${share}" --stage 12 --stop_stage 13 \
            --train_set "train_share${share}" --systems "${trained[*]}" --asr_tag "seed${seed}" \
            --test_sets "${test_set}"
    done
fi

analyse() { # analyse ANALYSIS OPTION…: of the models in `models`, unless its file is newer than all of `newest`
    local output=${folder}/analysis/$1_seed${seed}.json is_current=false model
    if [[ -e ${output} ]]; then
        is_current=true
        for model in "${newest[@]}"; do if [[ ${model} -nt ${output} ]]; then is_current=false; fi; done
    fi
    [[ ${is_current} == false ]] || return 0
    stop_if_due 60
    mkdir -p "${folder}/analysis"
    echo "== $1: ${item}"
    espnet_ext analyze "$1" --models "${models[@]}" "${@:2}" --ngpu "${ngpu}" \
        --data "${raw}/${valid_set}" --output "${output}" >"${output%.json}.log"
}

if is_stage 5 && [[ -n ${similarity} ]]; then # CKA; the models of the next seed are the ceiling
    for item in "${groups[@]}"; do
        read -r condition lang share seed <<<"${item}"
        folder=${dir}/${condition}/${lang}/share${share}/${lang}
        raw=${dir}/${condition}/${lang}/dump/raw/${lang}
        seeds=()
        for other in "${groups[@]}"; do
            if [[ ${other% *} == "${item% *}" ]]; then seeds+=("${other##* }"); fi
        done
        next=${seeds[0]} # the seed after this one, in a circle
        for ((i = 0; i + 1 < ${#seeds[@]}; i++)); do
            if [[ ${seeds[i]} == "${seed}" ]]; then next=${seeds[i + 1]}; fi
        done
        models=() twins=() newest=()
        for system in ${similarity}; do
            model=${folder}/${system}_seed${seed}
            [[ -e ${model}/model.pth ]] || continue
            models+=("${system}=${model}") newest+=("${model}/model.pth")
        done
        ((${#models[@]} > 1)) || continue
        for analysis in ${analyses}; do # decoders on the encoders of other systems; probes
            analyse "${analysis}" --train "${raw}/train_share${share}"
        done
        for system in ${similarity}; do
            twin=${folder}/${system}_seed${next}
            if [[ ${next} != "${seed}" && -e ${folder}/${system}_seed${seed}/model.pth && -e ${twin}/model.pth ]]; then
                twins+=("${system}=${twin}") newest+=("${twin}/model.pth")
            fi
        done
        if ((${#twins[@]})); then twins=(--twins "${twins[@]}"); fi
        analyse cka "${twins[@]}" --measures cka --max_rows 500
    done
fi

if is_stage 6; then
    results=${dir}/results
    mkdir -p "${results}"
    sets=${valid_set} reported=${valid_set}
    if [[ ${test} == true ]]; then sets+=" ${test_set}" reported=${test_set}; fi
    study_command collect --sets "${sets}" --partial true --results "${results}/cells.json"
    study_command report --set "${reported}" --results "${results}/cells.json" \
        --output "${results}/RESULTS.md"
fi
