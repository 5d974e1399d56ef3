#!/usr/bin/env bash
# Run all tests from a fresh clone: environment, style, types, shell, pytest, and the embedded corpus
# from data to report.
# shellcheck disable=SC2329 # functions are called by `part`
set -uo pipefail

usage() {
    cat <<'END'
usage: bash tests/run.sh [options]

  --fast BOOL          true: leave out the run of the embedded corpus and tests marked slow
  --parts LIST         parts to run (default: "ruff mypy shellcheck pytest embedded_corpus")
  --pytest_args LIST   further options for pytest
  --workers N          processes of pytest (default: one per core, at most 4; each needs up to 3 GB)
  --python PATH        interpreter to build the environment with, or the python of an environment
  --env DIR            environment to use or create (default: the active one, else .venv)

The log of a part that fails is kept, and named in the summary.

Exit codes: 0 all parts passed, 1 a part failed, 2 wrong usage.
END
}

bad_usage() { # bad_usage MESSAGE REMEDY
    printf 'error: %s\n  remedy: %s\n' "$1" "$2" >&2
    exit 2
}

fast=false parts="ruff mypy shellcheck pytest embedded_corpus" pytest_args="" workers="" python="" env=""
while (($#)); do
    case $1 in
        -h | --help) usage && exit 0 ;;
        --fast=* | --parts=* | --pytest_args=* | --workers=* | --python=* | --env=*)
            set -- "${1%%=*}" "${1#*=}" "${@:2}"
            ;;
        --fast | --parts | --pytest_args | --workers | --python | --env)
            (($# > 1)) || bad_usage "$1 needs a value" "write $1 VALUE; see --help"
            printf -v "${1#--}" '%s' "$2"
            shift 2
            ;;
        *) bad_usage "unknown option $1" "see bash tests/run.sh --help" ;;
    esac
done
[[ ${fast} == true || ${fast} == false ]] || bad_usage "--fast ${fast}: neither true nor false" "--fast true"
[[ ${workers:-1} =~ ^[1-9][0-9]*$ ]] || bad_usage "--workers ${workers}: no positive number" "--workers 2"
for name in ${parts}; do
    [[ " ruff mypy shellcheck pytest embedded_corpus " == *" ${name} "* ]] ||
        bad_usage "--parts: no part '${name}'" "choose among: ruff mypy shellcheck pytest embedded_corpus"
done

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "${root}" || exit 1
setup=(--extras "synth report vad lhotse hf pretrained serve onnx docs dev browser")
if [[ -n ${python} ]]; then setup+=(--python "${python}"); fi
if [[ -n ${env} ]]; then setup+=(--env "${env}"); fi
python=$(bash local/setup_env.sh "${setup[@]}") || exit
unset PYTHONDONTWRITEBYTECODE # without compiled files, torch needs six seconds more to import
PATH=$(dirname "${python}"):${PATH}
export PATH PYTHONPATH=${root}${PYTHONPATH:+:${PYTHONPATH}} OMP_NUM_THREADS=1

outcomes=()
failed=0
log_dir=$(mktemp -d "${TMPDIR:-/tmp}/espnet_ext_tests.XXXXXX") # kept if a part fails

part() { # part NAME FUNCTION: run it if it is selected; record outcome and time
    local start=${SECONDS} status=0 outcome=passed log=${log_dir}/$1.log
    [[ " ${parts} " == *" $1 "* ]] || return 0
    printf '\n== %s\n' "$1"
    "$2" 2>&1 | tee "${log}"
    status=${PIPESTATUS[0]}
    if ((status)); then
        failed=1 outcome="FAILED (${status}): ${log}"
    else
        rm -f "${log}"
    fi
    outcomes+=("$(printf '%-16s %4d s  %s' "$1" "$((SECONDS - start))" "${outcome}")")
}

ruff_part() {
    "${python}" -m ruff check . && "${python}" -m ruff format --check .
}

start_mypy() { # beside the embedded corpus, whose steps often leave a core idle
    {
        "${python}" -m mypy >"${log_dir}/mypy.out" 2>&1
        echo "$?" >"${log_dir}/mypy.status"
    } &
    mypy_process=$!
}

mypy_part() { # in a subshell, which cannot `wait` for the process
    local status
    while kill -0 "${mypy_process}" 2>/dev/null; do sleep 1; done
    cat "${log_dir}/mypy.out"
    status=$(cat "${log_dir}/mypy.status" || echo 1)
    rm -f "${log_dir}"/mypy.{out,status}
    return "${status}"
}

shellcheck_part() { # tracked and new files, without those that git ignores
    local files=()
    mapfile -t files < <(git ls-files --cached --others --exclude-standard -- '*.sh' .ci/run | sort -u)
    shellcheck --external-sources --source-path=SCRIPTDIR "${files[@]}" &&
        echo "${#files[@]} shell files have no findings"
}

pytest_part() { # tests of one file stay in one process, since they share fixtures
    local options=() cores
    cores=$(env -u OMP_NUM_THREADS nproc) # nproc obeys that variable
    read -ra options <<<"${pytest_args}"
    if [[ ${fast} == true ]]; then options+=(-m "not slow and not manual"); fi
    "${python}" -m pytest -q --durations=40 --numprocesses "${workers:-$((cores < 4 ? cores : 4))}" \
        --dist loadfile --no-loadscope-reorder "${options[@]}" # in the order of tests/conftest.py
}

embedded_corpus_part() { # all stages with --quick true, in folders of their own
    local folder status=0 changes
    folder=$(mktemp -d)
    changes=$(git status --porcelain)
    env -u OMP_NUM_THREADS bash run.sh --quick true --python "${python}" --datadir "${folder}/data" \
        --dumpdir "${folder}/dump" --expdir "${folder}/exp" || status=$?
    if ((status == 0)); then
        [[ -s ${folder}/exp/RESULTS.md && -s ${folder}/exp/report.html ]] || {
            echo "error: the run ended well but wrote no RESULTS.md or report.html" >&2
            status=1
        }
        [[ $(git status --porcelain) == "${changes}" ]] || {
            echo "error: the run changed files of the repository (git status)" >&2
            status=1
        }
    fi
    if ((status == 0)); then
        rm -rf "${folder}"
    else
        echo "the files of the failed run are kept in ${folder}; logs are in ${folder}/exp/log" >&2
    fi
    return "${status}"
}

part ruff ruff_part
part shellcheck shellcheck_part
part pytest pytest_part
if [[ " ${parts} " == *" mypy "* ]]; then start_mypy; fi
if [[ ${fast} != true ]]; then part embedded_corpus embedded_corpus_part; fi
part mypy mypy_part

printf '\n== summary (%d s)\n' "${SECONDS}"
printf '%s\n' "${outcomes[@]}"
if ((failed)); then
    echo "FAILED; the logs of the failed parts are kept"
else
    rmdir "${log_dir}"
    echo "all passed"
fi
exit "${failed}"
