# shellcheck shell=bash
# shellcheck disable=SC2154,SC2034 # load_options assigns variables, run.sh uses others
# Functions of run.sh. What they do is in Python, in espnet_ext/pipeline:
#
#   load_options "$@"       assign the options, and names that follow from them
#   use_environment         find or make the Python environment; sets ${python}
#   check_settings          check configurations, GPUs and the like, before any work
#   if stage N "TITLE"; …   is stage N to be run?
#   step NAME [--in PATH]… [--out PATH]… … -- command argument…
#                           collect a command, to be run if it is not done already
#   analysis_steps KIND     collect the analyses of stage 17
#   run_steps [N]           run what was collected, N commands at a time
#   stage_done "TEXT"       print what the stage made, and how long it took
#
# A step is done if its outputs exist, and its command, the content of its inputs and the code that
# it runs are as they were. Its log is ${log_dir}/NAME.log; the first line is the command.
#
#   --in PATH      a file, or a folder for the files directly in it
#   --out PATH     must exist afterwards
#   --owns DIR     the folder of a command that resumes by itself, moved aside if the options or
#                  data changed since it began
#   --launch       runs where --cmd says: with --cpus N, --gpus N and --nodes N
#   --code MODULE  the command runs this module, beside those that it names
#   --show REGEX   lines of the log to show, beside warnings, notes and progress

if ((BASH_VERSINFO[0] * 100 + BASH_VERSINFO[1] < 404)); then # macOS has 3.2
    printf 'error: bash %s is too old; needed: 4.4\n  remedy: on macOS: brew install bash\n' "${BASH_VERSION}" >&2
    exit 2
fi

export PYTHONUTF8=1 # in every locale: tables, paths and messages are UTF-8
unset PYTHONIOENCODING # it would take precedence

# A reader of the messages that ends, such as a pager, does not end the run
trap '' PIPE
say() { # say FORMAT ARGUMENT…: print to standard error
    # shellcheck disable=SC2059 # the first argument is a format
    printf "$@" >&2 2>/dev/null || true
}

run_dir=$(mktemp -d)
trap 'rm -rf "${run_dir}"' EXIT
run_start=${SECONDS}
cores=$(env -u OMP_NUM_THREADS nproc) # nproc obeys that variable
runner=""    # process that runs the steps
ran_steps=0 # in the present stage

# Print a Python 3.9 or later that can import the package: it only reads options. In a clone, that is
# any; in a folder written by `espnet-ext new_recipe`, one of an environment with the package.
find_python() { # find_python [ARGUMENT]…: the arguments of run.sh, for --python
    local candidate candidates=()
    while (($#)); do
        case $1 in
            --python=*) candidates=("${1#*=}") ;;
            --python) candidates=("${2:-}") ;;
        esac
        shift
    done
    candidates+=("${root}/.venv/bin/python" "${VIRTUAL_ENV:-/none}/bin/python"
        "${CONDA_PREFIX:-/none}/bin/python")
    mapfile -t -O "${#candidates[@]}" candidates < <(
        type -aP python3 python3.12 python3.13 python 2>/dev/null
    )
    for candidate in "${candidates[@]}" "${HOME:-/none}"/.pyenv/versions/3.*/bin/python; do
        if can_read_options "${candidate}"; then
            printf '%s' "${candidate}"
            return
        fi
    done
    candidate=$(uv python find --no-project 3.12 2>/dev/null) && can_read_options "${candidate}" &&
        printf '%s' "${candidate}"
}

can_read_options() {
    PYTHONPATH=${root}${PYTHONPATH:+:${PYTHONPATH}} "$1" -c \
        'import sys; assert sys.version_info >= (3, 9); import espnet_ext' >/dev/null 2>&1
}

load_options() {
    local options_python
    options_python=$(find_python "$@") || {
        if [[ -e ${root}/espnet_ext ]]; then
            say 'error: no Python 3.9 or later found (on PATH, in pyenv, by uv)\n'
            say '  remedy: install Python 3.12 or 3.13; the environment is then made on it\n'
        else
            say 'error: no Python with the package espnet-ext found (active environment, PATH)\n'
            say '  remedy: activate the environment in which it is installed, or name its python: --python PATH\n'
        fi
        exit 2
    }
    PYTHONPATH=${root}${PYTHONPATH:+:${PYTHONPATH}} "${options_python}" -m \
        espnet_ext.pipeline.settings "${root}" "${start_dir}" "${run_dir}/options" "$@"
    [[ -s ${run_dir}/options ]] || exit 0 # --help was printed
    # shellcheck source=/dev/null
    . "${run_dir}/options"
}

use_environment() {
    local options=(--extras "synth report")
    if [[ -n ${python} ]]; then options+=(--python "${python}"); fi
    if [[ -n ${env} ]]; then options+=(--env "${env}"); fi
    (cd "${start_dir}" && bash "${root}/local/setup_env.sh" "${options[@]}") >"${run_dir}/python"
    python=$(<"${run_dir}/python")
    unset PYTHONDONTWRITEBYTECODE   # without compiled files, torch needs six seconds more to import
    PATH=$(dirname "${python}"):${PATH} # `python` in a recipe's local/data.sh is this one
    export PATH ESPNET_EXT_PYTHON=${python} PYTHONPATH=${root}${PYTHONPATH:+:${PYTHONPATH}}
    export PYTHONUNBUFFERED=1
}

check_settings() { # sets ${variants}, the variants of decoding as SYSTEM:VARIANT
    local system lang configs=() types=()
    for system in "${!system_config[@]}"; do configs+=("${system}=${system_config[${system}]}"); done
    for lang in ${langs}; do types+=("${lang} ${token_types_of[${lang}]}"); done
    "${python}" -m espnet_ext.pipeline.checks --python "${python}" --asr_config "${asr_config}" \
        --system_configs "${configs[@]}" --stages "${selected_stages[@]}" --fs "${fs}" --cmd "${cmd}" \
        --options "${run_dir}/options.json" --log_dir "${log_dir}" --ngpu "${ngpu}" --gpu_inference "${gpu_inference}" --use_lm "${use_lm}" \
        --train_baseline "${train_baseline}" --stress "${stress}" --coupling "${coupling}" \
        --canonical_prior "${canonical_prior}" --token_types "${types[@]}" \
        --pretrained "${pretrained}" --kmeans_feature "${kmeans_feature}" --baselines_on_hub "${baselines_on_hub[@]}" \
        >"${run_dir}/checks"
    # shellcheck source=/dev/null
    . "${run_dir}/checks"
}

check_canonical_files() { # of --canonical_prior, as soon as the data is there
    if [[ -n ${canonical_prior} ]] && is_selected 12; then
        "${python}" -m espnet_ext.pipeline.canonical_files "${run_dir}/options.json" \
            --variants "${variants}"
    fi
}

# -- stages

is_selected() { # is_selected N: by --stage, --stop_stage and --skip_*
    [[ " ${selected_stages[*]} " == *" $1 "* ]]
}

stage() { # stage N TITLE: true if it is selected; starts its clock
    is_selected "$1" || return 1
    stage_number=$1 stage_title=$2 stage_start=${SECONDS}
    ran_steps=0
}

stage_done() { # stage_done TEXT
    local how="$((SECONDS - stage_start)) s"
    if ((ran_steps == 0)); then how=unchanged; fi
    say 'stage %s, %s: %s (%s)\n' "${stage_number}" "${stage_title}" "$1" "${how}"
}

# -- steps

step() { # record its words for run_steps
    printf '%s\0' "$#" "$@" >>"${run_dir}/steps"
}

analysis_steps() { # analysis_steps texts|models|stress: the analyses that need these
    "${python}" -m espnet_ext.pipeline.analyses "${run_dir}/options.json" --kind "$1" \
        --python "${python}" --variants "${variants}" >>"${run_dir}/steps"
}

run_steps() { # run_steps [N]
    local status count
    [[ -s ${run_dir}/steps ]] || return 0
    if [[ -z ${runner} ]]; then start_runner; fi
    mv "${run_dir}/steps" "${run_dir}/running"
    printf '%s %s\n' "${1:-1}" "${run_dir}/running" >&"${to_runner}"
    read -r status count <&"${from_runner}" || status=1 # a signal interrupts this
    ((status == 0)) || exit "${status}"
    ran_steps=$((ran_steps + count))
}

start_runner() { # one process runs the steps of all stages; it ends with this script
    local word options=()
    for word in "${slurm_options[@]}"; do options+=("--slurm_option=${word}"); done
    for word in "${slurm_cpu_options[@]}"; do options+=("--slurm_cpu_option=${word}"); done
    for word in "${slurm_gpu_options[@]}"; do options+=("--slurm_gpu_option=${word}"); done
    coproc RUNNER {
        exec "${python}" -m espnet_ext.pipeline.run --log_dir "${log_dir}" --python "${python}" \
            --cores "${cores}" --force "${force}" --resume_changed "${resume_changed}" \
            --cmd "${cmd}" "${options[@]}"
    }
    runner=${RUNNER_PID}
    exec {to_runner}>&"${RUNNER[1]}" {from_runner}<&"${RUNNER[0]}"
    trap 'stop_run 130' INT
    trap 'stop_run 143' TERM
    trap 'stop_run 129' HUP
}

stop_run() { # on a signal: end the steps with all their processes, then this script
    trap '' INT TERM HUP
    kill -TERM "${runner}" 2>/dev/null || true
    wait "${runner}" 2>/dev/null || true
    say '\nstopped; the same command continues from here\n'
    exit "$1"
}

# -- small helpers

require_outputs() { # require_outputs --out FILE …: stop if one is missing
    local word
    for word in "$@"; do
        [[ ${word} == --out || -s ${word} ]] || {
            say 'error: %s: no such file, and there is no local/data.sh that would make it\n' "${word}"
            say '  remedy: put that data directory there, or write %s/local/data.sh\n' "${recipe}"
            exit 1
        }
    done
}

option_value() { # option_value NAME DEFAULT WORD…: print the last value of an option among words
    local name=$1 value=$2
    shift 2
    while (($#)); do
        case $1 in
            "${name}") value=${2:-} ;;
            "${name}="*) value=${1#*=} ;;
        esac
        shift
    done
    printf '%s' "${value}"
}

count_utterances() { # count_utterances DIR "SET…": in all these sets of all languages
    local lang dset files=()
    for lang in ${langs}; do
        for dset in $2; do files+=("$1/${lang}/${dset}/wav.scp"); done
    done
    cat "${files[@]}" | wc -l
}

link_model() { # with --asr_exp, exp/<lang>/<system>_<tag> is a link to that folder
    local link=${expdir}/${langs}/${systems}_${asr_tag}
    [[ -n ${asr_exp} ]] || return 0
    mkdir -p "${asr_exp}" "${expdir}/${langs}"
    if [[ -L ${link} ]]; then rm "${link}"; fi
    if [[ ! -e ${link} ]]; then
        ln -s "$(realpath "${asr_exp}")" "${link}"
    elif [[ ! ${link} -ef ${asr_exp} ]]; then
        say 'error: --asr_exp %s, but %s is there already\n' "${asr_exp}" "${link}"
        say '  remedy: choose another --asr_tag, or move that folder\n'
        exit 1
    fi
}

print_results() { # print_results MARKDOWN HTML: the first table, and where the files are
    local line inside=false
    say '\n'
    while IFS= read -r line; do
        if [[ ${line} == '|'* ]]; then
            printf '%s\n' "${line}" 2>/dev/null || break # the reader has ended
            inside=true
        elif [[ ${inside} == true ]]; then
            break
        fi
    done <"$1"
    say '\n%s\n%s\n' "$(realpath "$1")" "$(realpath "$2")"
}
