#!/usr/bin/env bash
# Find or make the Python environment of this project, and print the path of its python.
# Called by run.sh and tests/run.sh; a second call returns at once (a stamp in the environment).
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
stamp_name=.espnet-ext.stamp # in an environment that is ready: what it was made from
mark_name=.espnet-ext.made   # in an environment that this script made, and so may remake

usage() {
    cat <<'END'
usage: local/setup_env.sh [--python PATH] [--venv DIR] [--extras "synth report dev"]

  --python PATH   interpreter to build on, or the python of an environment to use as it is
                  (default: $PYTHON, else the first fit one: active environment, PATH, pyenv, uv)
  --venv DIR      environment to use or make (default: the active one if it fits, else .venv)
  --extras LIST   extras of setup.py to install (default: "synth report")

Prints the path of the environment's python on standard output, all else on standard error.
Exit codes: 0 ready, 1 the installation failed, 2 wrong usage or no fit Python (3.12 or 3.13).
END
}

say() { printf '%s\n' "$*" >&2; }

refuse() { # refuse MESSAGE REMEDY: wrong usage, or nothing fit to use
    say "error: $1"
    say "  remedy: $2"
    exit 2
}

# probe PYTHON: fill the array `found` with what local/probe_python.py says; false if it cannot run.
# A broken interpreter (a pyenv shim for a version that is not selected) is simply not a candidate.
declare -A found=()
probe() {
    local line output
    found=()
    output=$("$1" "$root/local/probe_python.py" "$root/setup.py" "$extras" 2>/dev/null) || return 1
    while IFS= read -r line; do
        found[${line%%=*}]=${line#*=}
    done <<<"$output"
    if [[ -n ${found[unknown_extra]:-} ]]; then
        refuse "no extra named '${found[unknown_extra]}'" "choose among: ${found[known_extras]}"
    fi
}

fits_whole() { # the probed environment has a fit Python, torch and ESPnet
    [[ ${found[python_fits]:-} == true && ${found[torch_fits]:-} == true && ${found[espnet_fits]:-} == true ]]
}

# -- the stamp: three lines (key, base interpreter, extras), written when all is installed

stamp_key() { # what an environment must have been made from to count as ready
    local sums
    sums=$(sha256sum <"$root/local/constraints.txt" && sha256sum <"$root/setup.py")
    printf '%s %s' "${sums//[^0-9a-f]/}" "$root"
}

is_ready() { # is_ready ENV: stamped for this checkout, with all wanted extras (and the wanted base)
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
        mv "$1/$stamp_name.$$" "$1/$stamp_name"; } 2>/dev/null || true # a read-only one is probed again
}

finish() { # finish PYTHON: the result on standard output
    printf '%s\n' "$1"
    exit 0
}

# -- choosing an interpreter

candidates() { # one a line: path <tab> where it comes from; the best tested version first
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

choose_base() { # set `base` (and `found` for it), or say what would help
    local path origin seen=""
    while IFS=$'\t' read -r path origin; do
        if probe "$path"; then
            if [[ ${found[python_fits]} == true ]]; then
                base=${found[executable]}
                say "python: $base (${found[version]}, $origin)"
                return
            fi
            [[ $seen == *" ${found[version]}"* ]] || seen+=" ${found[version]}"
        fi
    done < <(candidates)
    refuse "no Python 3.12 or 3.13 found (on PATH, in pyenv, by uv; seen:${seen:- none})" \
        "install one ('pyenv install 3.12', 'uv python install 3.12' or your system's package) or name one: --python PATH"
}

# -- installing

may_use_uv() { # not on top of a base's packages, which uv does not see and would install again
    [[ ${ESPNET_EXT_INSTALLER:-uv} != pip ]] && # pip: for machines where uv misbehaves
        ! grep -qsi '^include-system-site-packages *= *true' "$env/pyvenv.cfg"
}

find_uv() { # set the array `uv` to a command that works; empty if there is none
    uv=()
    if ! may_use_uv; then return; fi
    if uv --version >/dev/null 2>&1; then
        uv=(uv)
    elif python3 -m uv --version >/dev/null 2>&1; then
        uv=(python3 -m uv)
    elif [[ -x $env/bin/uv ]]; then
        uv=("$env/bin/uv")
    fi
}

make_venv() { # make_venv: an environment on `base`; over a fit torch it sees the base's packages
    local options=()
    if [[ ${found[torch_fits]:-} == true && ${found[in_venv]} == false ]]; then
        options=(--system-site-packages)
        uv=()
        say "keeping the installed torch ${found[torch]} of $base"
    fi
    say "environment: making $env"
    # Marked as ours from its first moment, so that an interrupted making can be taken up or undone.
    printf '%s\n' "${python:-$base}" >"$env/$mark_name"
    if ((${#uv[@]})); then
        "${uv[@]}" venv --quiet --allow-existing --no-project --python "$base" "${options[@]}" "$env" >&2
    elif ! "$base" -m venv "${options[@]}" "$env" >&2; then
        refuse "$base cannot make an environment (its venv module fails)" \
            "install it (Debian, Ubuntu: the package python3-venv) or install uv"
    fi
}

constraints_for() { # constraints_for FILE: the pins, less what the probed environment may keep
    local keep=() name
    if [[ ${found[torch_fits]:-} == true ]]; then
        keep+=("torch==${found[torch]}")
        [[ -z ${found[torchaudio]} ]] || keep+=("torchaudio==${found[torchaudio]}")
    fi
    sed 's/[[:space:]]*#.*//; /^$/d' "$root/local/constraints.txt" | while IFS= read -r line; do
        for name in "${keep[@]}"; do
            [[ ${line%%==*} != "${name%%==*}" ]] || line=$name
        done
        printf '%s\n' "$line"
    done >"$1"
}

install_into() { # install_into PYTHON: the project and all it requires; repeats what was interrupted
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
        installer=("$python" -m pip install --quiet --disable-pip-version-check)
        say "installing by pip: espnet-ext[${extras// /,}] (about 6 GB with torch; some minutes)"
    fi
    if ! "${installer[@]}" --constraint "$constraints" --config-settings editable_mode=compat \
        --editable "$target" >&2; then
        rm -f "$constraints"
        say "error: installing into $env failed (the lines above say why)"
        say "  remedy: mend the cause (network, package index, disk) and run the same command again: it resumes"
        exit 1
    fi
    rm -f "$constraints"
}

other_clone() { # the probed environment has the espnet_ext of another clone, which is still there
    [[ -n ${found[editable]:-} && ${found[editable]} != "$root" && -d ${found[editable]}/espnet_ext ]]
}

use_existing() { # use_existing PYTHON WHY: a fit environment that is not ours; add only what is missing
    local python=${found[executable]}
    env=${found[prefix]}
    say "environment: $env ($2: Python ${found[version]}, torch ${found[torch]}${found[espnet]:+, ESPnet ${found[espnet]}})"
    if [[ -n ${found[missing]} ]]; then
        if [[ ! -w $env ]]; then
            refuse "$env lacks ${found[missing]// /, } and cannot be written to" \
                "deactivate it, or name an environment: --venv DIR"
        fi
        say "adding what it lacks: ${found[missing]// /, }"
        if other_clone; then say "environment: $env had espnet_ext from ${found[editable]}, and now has it from $root"; fi
        find_uv
        install_into "$python"
    fi
    write_stamp "$env" "$python"
    finish "$python"
}

check_found_env() { # the folder `env` holds something: keep what is fit, empty what is ours, else refuse
    local made=""
    [[ ! -r $env/$mark_name ]] || made=$(<"$env/$mark_name")
    if [[ -n $made && -n $python && $made != "$python" ]]; then
        say "environment: $env was made on $made; making it anew"
    elif [[ -e $env/bin/python ]] && probe "$env/bin/python" && [[ ${found[python_fits]} == true ]]; then
        return
    elif [[ -n $made ]]; then
        say "environment: $env is broken; making it anew"
    elif [[ -e $env/bin/python ]]; then
        refuse "$env has no fit Python (needed: 3.12 or 3.13)" "remove it, or name another folder: --venv DIR"
    else
        refuse "$env exists and is no Python environment" "name another folder: --venv DIR"
    fi
    find "$env" -mindepth 1 -delete
}

build_own() { # make, repair or complete the environment `env`
    local base=""
    if [[ -n $python ]]; then
        probe "$python" || refuse "$python does not run" "name a working Python 3.12 or 3.13: --python PATH"
        [[ ${found[python_fits]} == true ]] ||
            refuse "$python is Python ${found[version]}; needed is CPython 3.12 or 3.13" "name another: --python PATH"
        base=${found[executable]}
        say "python: $base (${found[version]}, named)"
    fi
    if [[ -n $(ls -A "$env") ]]; then check_found_env; fi
    find_uv
    if [[ ! -x $env/bin/python ]]; then
        if [[ -z $base ]]; then choose_base; else probe "$base"; fi
        make_venv
    fi
    probe "$env/bin/python" || refuse "$env/bin/python does not run" "remove $env and run again"
    if other_clone; then # an environment can serve several clones: each runs its own by PYTHONPATH
        if fits_whole && [[ -z ${found[missing]} ]]; then
            say "environment: $env, whose espnet-ext command stays that of ${found[editable]}; run.sh runs this clone's"
            finish "$env/bin/python"
        fi
        say "environment: $env had espnet_ext from ${found[editable]}, and now has it from $root"
    fi
    rm -f "$env/$stamp_name"
    install_into "$env/bin/python"
    write_stamp "$env" "${python:-$base}"
    say "environment: $env is ready"
    finish "$env/bin/python"
}

# -- what was asked for

python=${PYTHON:-} venv="" extras="synth report"
while (($#)); do
    case $1 in
        -h | --help) usage && exit 0 ;;
        --python=* | --venv=* | --extras=*) set -- "${1%%=*}" "${1#*=}" "${@:2}" ;;
        --python | --venv | --extras)
            (($# > 1)) || refuse "$1 needs a value" "see local/setup_env.sh --help"
            printf -v "${1#--}" '%s' "$2"
            shift 2
            ;;
        *) refuse "unknown option $1" "see local/setup_env.sh --help" ;;
    esac
done
key=$(stamp_key)

# An active environment, or the one that --python lies in, counts before our own .venv.
active=${VIRTUAL_ENV:-${CONDA_PREFIX:-}}
if [[ -n $venv ]]; then
    env=$venv
    [[ $env == /* ]] || env=$PWD/$env
else
    env=$root/.venv
    if [[ -n $python ]]; then
        if probe "$python" && fits_whole; then use_existing "$python" named; fi
    elif [[ -n $active && -x $active/bin/python && $active != "$env" ]]; then
        if is_ready "$active"; then finish "$active/bin/python"; fi
        # One with a fit torch and no ESPnet is completed: its owner chose that torch.
        if probe "$active/bin/python" && [[ ${found[python_fits]} == true && ${found[torch_fits]:-} == true ]] &&
            [[ -z ${found[espnet]} || ${found[espnet_fits]} == true ]]; then
            use_existing "$active/bin/python" active
        fi
        say "environment: the active one ($active) does not fit (needed: Python 3.12 or 3.13, torch >=2.11,<2.15 but not 2.12, ESPnet 202611); using $env"
    fi
fi
if is_ready "$env"; then finish "$env/bin/python"; fi
if [[ -z $venv && -z $python && ! -e $env ]] && probe python3 && fits_whole && [[ -z ${found[missing]} ]]; then
    use_existing python3 "on PATH" # a container that has everything
fi
if command -v flock >/dev/null; then # two set-ups at once: the second waits, then finds it ready
    mkdir -p "$env"
    exec 9<"$env"
    flock 9
    if is_ready "$env"; then finish "$env/bin/python"; fi
fi
mkdir -p "$env"
build_own
