#!/usr/bin/env bash
# All tests, from nothing: environment, lint, pytest, and the embedded corpus from data to report.
# shellcheck disable=SC2154,SC2329 # options are declared by `option`, parts are called by `part`
set -uo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root" || exit 1
# shellcheck source=../local/parse_options.sh
. "$root/local/parse_options.sh"
option_usage="usage: bash tests/run.sh [options]
Exit codes: 0 all passed, 1 something failed, 2 wrong usage."
option fast false "leave out the run of the embedded corpus, and tests marked slow"
option pytest_args "" "further options for pytest"
option python "" "interpreter to build the environment on, or an environment's python"
option env "" "environment to use or make (default: a fit active one, else .venv)"
parse_options "$@"

setup=(--extras "synth report vad lhotse hf xlsr dev")
[[ -z $python ]] || setup+=(--python "$python")
[[ -z $env ]] || setup+=(--venv "$env")
python=$(bash local/setup_env.sh "${setup[@]}") || exit
unset PYTHONDONTWRITEBYTECODE # compiling torch anew would cost every process six seconds
PATH=$(dirname "$python"):$PATH
export PATH PYTHONPATH=$root${PYTHONPATH:+:$PYTHONPATH} OMP_NUM_THREADS=1

outcomes=()
failed=0

part() { # part NAME command...: run it, note how it went and how long it took
    local name=$1 started=$SECONDS status=0
    shift
    printf '\n== %s\n' "$name"
    "$@" || status=$?
    if ((status)); then failed=1; fi
    outcomes+=("$(printf '%-14s %-10s %4d s' "$name" "$( ((status)) && echo "FAILED ($status)" || echo passed)" "$((SECONDS - started))")")
}

shell_files() { # tracked and new ones, but nothing that git ignores
    git ls-files --cached --others --exclude-standard -- '*.sh' .ci/run | sort -u
}

lint_python() {
    "$python" -m ruff check . && "$python" -m ruff format --check .
}

lint_shell() {
    local files=()
    mapfile -t files < <(shell_files)
    shellcheck --external-sources --source-path=SCRIPTDIR "${files[@]}" && echo "${#files[@]} shell files are clean"
}

unit_tests() {
    local further=()
    read -ra further <<<"$pytest_args"
    [[ $fast != true ]] || further+=(-m "not slow")
    "$python" -m pytest -q --durations=10 "${further[@]}"
}

embedded_corpus() { # stage 1 to the report, in folders of its own
    local place status=0
    place=$(mktemp -d)
    env -u OMP_NUM_THREADS bash run.sh --quick true --python "$python" --datadir "$place/data" \
        --dumpdir "$place/dump" --expdir "$place/exp" || status=$?
    if ((status == 0)); then
        [[ -s $place/exp/RESULTS.md && -s $place/exp/report.html ]] || {
            echo "error: the run ended well but wrote no RESULTS.md or report.html" >&2
            status=1
        }
    fi
    rm -rf "$place"
    return "$status"
}

part "ruff" lint_python
part "shellcheck" lint_shell
part "pytest" unit_tests
if [[ $fast != true ]]; then part "embedded corpus" embedded_corpus; fi

printf '\n== summary (%d s)\n' "$SECONDS"
printf '%s\n' "${outcomes[@]}"
if ((failed)); then echo "FAILED"; else echo "all passed"; fi
exit "$failed"
