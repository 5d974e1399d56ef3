# shellcheck shell=bash
# Sourced by a recipe's local/data.sh: put the python of the project's environment first on PATH.
#
# run.sh has done so already. By hand, it is the active environment if that has a suitable Python,
# else .venv of the repository. Nothing is installed here.

find_environment() {
    local repository candidate
    repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
    export PYTHONPATH=${repository}${PYTHONPATH:+:${PYTHONPATH}} PYTHONUTF8=1
    if [[ -n ${ESPNET_EXT_PYTHON:-} ]]; then return; fi
    for candidate in "$(type -P python)" "${VIRTUAL_ENV:-${CONDA_PREFIX:-/none}}/bin/python" \
        "${repository}/.venv/bin/python"; do
        if "${candidate:-/none}" -c "${can_prepare}" >/dev/null 2>&1; then
            PATH=$(dirname "${candidate}"):${PATH}
            return
        fi
    done
    printf 'error: no environment of this project found: none is active, and %s/.venv does not work\n' "${repository}" >&2
    if [[ -e ${repository}/setup.py ]]; then
        printf '  remedy: create it: bash %s/local/setup_env.sh; it needs Python 3.12 or 3.13\n' "${repository}" >&2
    else
        printf '  remedy: activate the environment in which espnet-ext is installed\n' >&2
    fi
    exit 2
}

can_prepare="import sys; assert sys.version_info >= (3, 12); import numpy, soundfile, espnet_ext"
find_environment
