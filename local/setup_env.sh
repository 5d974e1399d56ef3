#!/usr/bin/env bash
# Find or create the Python environment of this project, and print the path of its python.
# Called by run.sh and tests/run.sh. A second call returns at once: a stamp is in the environment.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
stamp_name=.espnet-ext.stamp # in an environment that is ready: what it was created from
mark_name=.espnet-ext.made   # in an environment that this script created, and so may replace

usage() {
    cat <<'END'
usage: local/setup_env.sh [--python PATH] [--env DIR] [--extras "synth report dev"]

  --python PATH   interpreter to build with, or the python of an environment to use as it is
                  (default: $PYTHON, else the first suitable one: active environment, PATH, pyenv, uv)
  --env DIR       environment to use or create (default: the active one if suitable, else .venv)
  --venv DIR      the same as --env
  --extras LIST   extras of setup.py to install (default: "synth report")

Prints the path of the environment's python on standard output, everything else on standard error.
Exit codes: 0 ready, 1 the installation failed, 2 wrong usage or no suitable Python (3.12 or 3.13).
END
}

say() { printf '%s\n' "$*" >&2 2>/dev/null || true; } # its reader may have ended

refuse() { # refuse MESSAGE REMEDY: wrong usage, or nothing suitable
    say "error: $1"
    say "  remedy: $2"
    exit 2
}

# probe PYTHON: fill the array `probed` with the output of local/probe_python.py. False if PYTHON does
# not run: a broken interpreter (a pyenv shim of a version that is not selected) is skipped.
declare -A probed=()
probe() {
    local line output
    probed=()
    output=$("$1" "$root/local/probe_python.py" "$root/setup.py" "$extras" 2>/dev/null) || return 1
    while IFS= read -r line; do
        probed[${line%%=*}]=${line#*=}
    done <<<"$output"
    if [[ -n ${probed[unknown_extra]:-} ]]; then
        refuse "no extra named '${probed[unknown_extra]}'" "choose among: ${probed[known_extras]}"
    fi
}

all_fit() { # Python, torch and ESPnet of the probed environment are supported versions
    [[ ${probed[python_fits]:-} == true && ${probed[torch_fits]:-} == true && ${probed[espnet_fits]:-} == true ]]
}

# -- the stamp: three lines (key, base interpreter, extras), written when everything is installed

stamp_key() { # an environment that was created from the same pins and this clone is ready
    local sums
    sums=$(sha256sum <"$root/local/constraints.txt" && sha256sum <"$root/setup.py")
    printf '%s %s' "${sums//[^0-9a-f]/}" "$root"
}

is_ready() { # is_ready ENV: stamped for this clone, with all extras and the interpreter asked for
    local stamp=$1/$stamp_name stamped=() extra
    [[ -r $stamp && -x $1/bin/python ]] || return 1
    mapfile -t stamped <"$stamp"
    [[ ${stamped[0]:-} == "$key" ]] || return 1
    [[ -z $python || $python == "${stamped[1]:-}" ]] || return 1
    for extra in $extras; do
        [[ " ${stamped[2]:-} " == *" $extra "* ]] || return 1
    done
}

write_stamp() { # write_stamp ENV BASE
    { printf '%s\n%s\n%s\n' "$key" "$2" "$extras" >"$1/$stamp_name.$$" &&
        mv "$1/$stamp_name.$$" "$1/$stamp_name"; } 2>/dev/null || true # read-only: probed each time
}

finish() { # finish PYTHON: the result on standard output
    printf '%s\n' "$1"
    exit 0
}

# -- choosing an interpreter

candidates() { # print one per line: path <tab> where it is; the best tested version first
    local name path home
    for name in python3.12 python3.13 python3 python; do
        while IFS= read -r path; do
            printf '%s\t%s\n' "$path" "on PATH"
        done < <(type -aP "$name" 2>/dev/null | awk '!seen[$0]++')
    done
    for home in "${PYENV_ROOT:-}" "$(pyenv root 2>/dev/null || true)" "${HOME:-}/.pyenv"; do
        [[ -n $home ]] || continue
        for path in "$home"/versions/3.12*/bin/python "$home"/versions/3.13*/bin/python; do
            [[ -x $path ]] && printf '%s\t%s\n' "$path" "in pyenv"
        done
    done
    for name in 3.12 3.13; do
        path=$(uv python find --no-project --managed-python "$name" 2>/dev/null) &&
            printf '%s\t%s\n' "$path" "managed by uv"
    done
    return 0
}

choose_base() { # set `base` (and `probed` for it), or exit with a remedy
    local path origin seen=""
    while IFS=$'\t' read -r path origin; do
        if probe "$path"; then
            if [[ ${probed[python_fits]} == true ]]; then
                base=${probed[executable]}
                say "python: $base (${probed[version]}, $origin)"
                return
            fi
            [[ $seen == *" ${probed[version]}"* ]] || seen+=" ${probed[version]}"
        fi
    done < <(candidates)
    refuse "no Python 3.12 or 3.13 found (on PATH, in pyenv, by uv; seen:${seen:- none})" \
        "install one ('pyenv install 3.12', 'uv python install 3.12' or your system's package) or name one: --python PATH"
}

# -- installing

may_use_uv() { # not if the environment sees packages of its base: uv would install them again
    [[ ${ESPNET_EXT_INSTALLER:-uv} != pip ]] && # pip: for machines on which uv does not work
        ! grep -qsi '^include-system-site-packages *= *true' "$env/pyvenv.cfg"
}

find_uv() { # set the array `uv` to a command that works, or to nothing
    local path
    uv=()
    if ! may_use_uv; then return; fi
    if uv --version >/dev/null 2>&1; then
        uv=(uv)
    elif python3 -m uv --version >/dev/null 2>&1; then
        uv=(python3 -m uv)
    else
        for path in "$env/bin/uv" "${HOME:-/none}/.local/bin/uv" "${HOME:-/none}/.cargo/bin/uv"; do
            if [[ -x $path ]]; then
                uv=("$path")
                return
            fi
        done
    fi
}

require_pip() { # require_pip PYTHON: an environment that uv created has no pip
    "$1" -m pip --version >/dev/null 2>&1 && return
    "$1" -m ensurepip >/dev/null 2>&1 || refuse "$1 has no pip, and there is no uv" \
        "install uv (docs.astral.sh/uv), or pip for this Python (Debian, Ubuntu: python3-venv)"
    say "environment: added pip, which it lacked"
}

make_venv() { # create `env` with `base`; if torch of the base is supported, it sees the base's packages
    local options=()
    if [[ ${probed[torch_fits]:-} == true && ${probed[in_venv]} == false ]]; then
        options=(--system-site-packages)
        uv=()
        say "keeping the installed torch ${probed[torch]} of $base"
    fi
    say "environment: creating $env"
    # Marked as created by this script at once, so that an interrupted creation can be repeated.
    printf '%s\n' "${python:-$base}" >"$env/$mark_name"
    if ((${#uv[@]})); then
        "${uv[@]}" venv --quiet --allow-existing --no-project --python "$base" "${options[@]}" "$env" >&2
    elif ! "$base" -m venv "${options[@]}" "$env" >&2; then
        refuse "$base cannot create an environment (its venv module fails)" \
            "install it (Debian, Ubuntu: the package python3-venv) or install uv"
    fi
}

constraints_for() { # constraints_for FILE: write the pins, with the probed torch if it is supported
    local keep=() name
    if [[ ${probed[torch_fits]:-} == true ]]; then
        keep+=("torch==${probed[torch]}")
        [[ -z ${probed[torchaudio]} ]] || keep+=("torchaudio==${probed[torchaudio]}")
    fi
    sed 's/[[:space:]]*#.*//; /^$/d' "$root/local/constraints.txt" | while IFS= read -r line; do
        for name in "${keep[@]}"; do
            [[ ${line%%==*} != "${name%%==*}" ]] || line=$name
        done
        printf '%s\n' "$line"
    done >"$1"
}

install_into() { # install_into PYTHON: the project and its requirements; may be repeated
    local python=$1 target constraints installer
    constraints=$(mktemp)
    constraints_for "$constraints"
    target="${root}[${extras// /,}]"
    [[ -n $extras ]] || target=$root
    if ((${#uv[@]} == 0)) && may_use_uv &&
        "$python" -m pip install --quiet uv >/dev/null 2>&1; then
        uv=("$python" -m uv)
    fi
    if ((${#uv[@]})); then
        installer=("${uv[@]}" pip install --quiet --python "$python")
        say "installing by uv: espnet-ext[${extras// /,}] (about 6 GB with torch; minutes on the first clone, seconds on later ones)"
    else
        require_pip "$python"
        installer=("$python" -m pip install --quiet --disable-pip-version-check)
        say "installing by pip: espnet-ext[${extras// /,}] (about 6 GB with torch; some minutes)"
    fi
    if ! "${installer[@]}" --constraint "$constraints" --config-settings editable_mode=compat \
        --editable "$target" >&2; then
        rm -f "$constraints"
        say "error: installing into $env failed (the lines above say why)"
        say "  remedy: fix the cause (network, package index, disk) and run the same command again: it resumes"
        exit 1
    fi
    rm -f "$constraints"
}

other_clone() { # the probed environment has the espnet_ext of another clone that still exists
    [[ -n ${probed[editable]:-} && ${probed[editable]} != "$root" && -d ${probed[editable]}/espnet_ext ]]
}

use_existing() { # use_existing PYTHON WHY: of a suitable environment; install only what is missing
    local python=${probed[executable]}
    env=${probed[prefix]}
    say "environment: $env ($2: Python ${probed[version]}, torch ${probed[torch]}${probed[espnet]:+, ESPnet ${probed[espnet]}})"
    if [[ -n ${probed[missing]} ]]; then
        if [[ ! -w $env ]]; then
            refuse "$env lacks ${probed[missing]// /, } and cannot be written to" \
                "deactivate it, or name an environment: --env DIR"
        fi
        say "installing what it lacks: ${probed[missing]// /, }"
        if other_clone; then say "environment: espnet_ext in $env was that of ${probed[editable]}, and is now that of $root"; fi
        find_uv
        install_into "$python"
    fi
    write_stamp "$env" "$python"
    finish "$python"
}

check_existing() { # `env` is not empty: keep it if suitable, empty it if created by this script
    local made=""
    [[ ! -r $env/$mark_name ]] || made=$(<"$env/$mark_name")
    if [[ -n $made && -n $python && $made != "$python" ]]; then
        say "environment: $env was created with $made; creating it again"
    elif [[ -e $env/bin/python ]] && probe "$env/bin/python" && [[ ${probed[python_fits]} == true ]]; then
        return
    elif [[ -n $made ]]; then
        say "environment: $env is broken; creating it again"
    elif [[ -e $env/bin/python ]]; then
        refuse "$env has no suitable Python (needed: 3.12 or 3.13)" "remove it, or name another folder: --env DIR"
    else
        refuse "$env exists and is not a Python environment" "name another folder: --env DIR"
    fi
    find "$env" -mindepth 1 -delete
}

build() { # create, repair or complete the environment `env`
    local base=""
    if [[ -n $python ]]; then
        probe "$python" || refuse "$python does not run" "name a working Python 3.12 or 3.13: --python PATH"
        [[ ${probed[python_fits]} == true ]] ||
            refuse "$python is Python ${probed[version]}; needed is CPython 3.12 or 3.13" "name another: --python PATH"
        base=${probed[executable]}
        say "python: $base (${probed[version]}, named)"
    fi
    if [[ -n $(ls -A "$env") ]]; then check_existing; fi
    find_uv
    if [[ ! -x $env/bin/python ]]; then
        if [[ -z $base ]]; then choose_base; else probe "$base"; fi
        make_venv
    fi
    probe "$env/bin/python" || refuse "$env/bin/python does not run" "remove $env and run again"
    if other_clone; then # an environment can serve several clones: each runs its own by PYTHONPATH
        if all_fit && [[ -z ${probed[missing]} ]]; then
            say "environment: $env (its espnet-ext command stays that of ${probed[editable]}; run.sh runs this clone)"
            finish "$env/bin/python"
        fi
        say "environment: espnet_ext in $env was that of ${probed[editable]}, and is now that of $root"
    fi
    rm -f "$env/$stamp_name"
    install_into "$env/bin/python"
    write_stamp "$env" "${python:-$base}"
    say "environment: $env is ready"
    finish "$env/bin/python"
}

# -- an installed package: `espnet-ext new_recipe` wrote this folder, which has no setup.py

use_installed() { # the first environment that has the package
    local candidate executable
    for candidate in "$python" "${venv:-/none}/bin/python" "${active:-/none}/bin/python" \
        "$(type -P python3)" "$(type -P python)"; do
        executable=$("${candidate:-/none}" -c "$print_if_installed" 2>/dev/null) && finish "$executable"
        [[ -z $python ]] || break
    done
    refuse "the package espnet-ext is not in ${python:-any environment that is active or on PATH}" \
        "activate the environment in which it is installed, or name its python: --python PATH"
}
print_if_installed="import sys, importlib.util as u
assert sys.version_info >= (3, 12) and u.find_spec('espnet_ext')
print(sys.executable)"

# -- options

python=${PYTHON:-} venv="" extras="synth report" # --env DIR is in `venv`
while (($#)); do
    case $1 in
        -h | --help) usage && exit 0 ;;
        --python=* | --env=* | --venv=* | --extras=*) set -- "${1%%=*}" "${1#*=}" "${@:2}" ;;
        --env) set -- --venv "${@:2}" ;;
        --python | --venv | --extras)
            (($# > 1)) || refuse "$1 needs a value" "see local/setup_env.sh --help"
            printf -v "${1#--}" '%s' "$2"
            shift 2
            ;;
        *) refuse "unknown option $1" "see local/setup_env.sh --help" ;;
    esac
done
# An active environment, or the one of --python, takes precedence over .venv.
active=${VIRTUAL_ENV:-${CONDA_PREFIX:-}}
if [[ ! -e $root/setup.py ]]; then use_installed; fi
key=$(stamp_key)
if [[ -n $venv ]]; then
    env=$venv
    [[ $env == /* ]] || env=$PWD/$env
else
    env=$root/.venv
    if [[ -n $python ]]; then
        if probe "$python" && all_fit; then use_existing "$python" named; fi
    elif [[ -n $active && -x $active/bin/python && $active != "$env" ]]; then
        if is_ready "$active"; then finish "$active/bin/python"; fi
        # One with a supported torch and without ESPnet is completed: its owner chose that torch.
        if probe "$active/bin/python" && [[ ${probed[python_fits]} == true && ${probed[torch_fits]:-} == true ]] &&
            [[ -z ${probed[espnet]} || ${probed[espnet_fits]} == true ]]; then
            use_existing "$active/bin/python" active
        fi
        say "environment: the active one ($active) is not suitable (needed: Python 3.12 or 3.13, torch >=2.11,<2.15 but not 2.12, ESPnet 202611); using $env"
    fi
fi
if is_ready "$env"; then finish "$env/bin/python"; fi
if [[ -z $venv && -z $python && ! -e $env ]] && probe python3 && all_fit && [[ -z ${probed[missing]} ]]; then
    use_existing python3 "on PATH" # a container with everything installed
fi
if command -v flock >/dev/null; then # of two calls at once the second waits, and finds it ready
    mkdir -p "$env"
    exec 9<"$env"
    flock 9
    if is_ready "$env"; then finish "$env/bin/python"; fi
fi
mkdir -p "$env"
build
