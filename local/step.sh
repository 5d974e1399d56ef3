# shellcheck shell=bash
# One step of the pipeline: a command that is skipped when it is done and nothing it depends on changed.
#
#   step NAME [--in PATH]... [--out PATH]... [--run LAUNCHER] [--owns DIR] [--show REGEX] -- command argument...
#   pool N step NAME ...        the same, in the background while fewer than N run; then pool_wait
#
# Beside the log $log_dir/NAME.log, whose first line is the command, lies NAME.done: the command, and
# a key of it and its inputs. Done means: same key, and every output exists. Needs $log_dir, $force.
# Inputs are files, or folders for the files directly in them: small ones count by content, those
# over a megabyte by size and time. Audio counts through the tables that name it. Where nothing is
# newer than NAME.done (nor any folder, as when a file is moved in), contents are not read again.
# --owns names the folder of a command that resumes by itself: when what it depends on has changed
# since it began, the folder is moved aside first (unless $resume_changed), or old work would be resumed.
# Of a command's output, progress and what begins with "warning: " or "note: " also reach the terminal,
# and so do lines that match --show.

: "${log_dir:=log}" "${force:=false}" "${resume_changed:=false}"
step_journal=$(mktemp) # a line a step: "ran NAME SECONDS" or "kept NAME", also from background steps
step_children=()       # process groups or shells to end with this one
pool_limit=1

plain_command() { # fill `plain` with the command, less where it runs and with how many processes
    local words=()
    while (($#)); do
        case $1 in
            --nj | --ngpu | --num_nodes) shift ;;
            "${python:-}") words+=(python) ;;
            *) words+=("$1") ;;
        esac
        shift
    done
    printf -v plain '%q ' "${words[@]}" '<' "${inputs[@]}"
}

step_key() { # a digest of `plain` and of what `inputs` holds
    local path size changed small=() existing=()
    for path in "${inputs[@]}"; do
        [[ ! -e $path ]] || existing+=("$path")
    done
    {
        printf '%s\n' "$plain"
        if ((${#existing[@]})); then
            while read -r size changed path; do
                printf '%s\n' "$path"
                if ((size > 1048576)); then printf '%s %s\n' "$size" "$changed"; else small+=("$path"); fi
            done < <(find -L "${existing[@]}" -maxdepth 1 -type f ! -name '.*' -printf '%s %T@ %p\n' |
                LC_ALL=C sort -k 3)
        fi
        ((${#small[@]} == 0)) || cat -- "${small[@]}"
    } | sha256sum
}

is_older() { # is_older PATH...: all, with the folders they lie in and the files in them, than `mark`
    local path file folder
    for path in "$@"; do
        folder=.
        if [[ $path == */* ]]; then folder=${path%/*}; fi
        [[ $mark -nt $path && $mark -nt $folder ]] || return 1
        if [[ -d $path ]]; then
            for file in "$path"/*; do [[ ! -f $file || $mark -nt $file ]] || return 1; done
        fi
    done
}

is_done() { # sets `key` when it had to be computed
    local noted=()
    [[ $force != true && -r $mark ]] && all_exist "${outputs[@]}" || return 1
    mapfile -t noted <"$mark"
    [[ ${noted[1]:-} == "$plain" ]] || return 1
    if is_older "${inputs[@]}"; then return 0; fi
    key=$(step_key)
    [[ ${noted[0]} == "$key" ]] || return 1
    printf '%s\n' "$key" "$plain" >"$mark" # nothing to read again next time
}

all_exist() {
    local path
    for path in "$@"; do
        [[ -e $path ]] || return 1
    done
}

stop_steps() { # on a signal: end what this shell started, with all its processes, then itself
    local child
    trap '' INT TERM HUP
    for child in "${step_children[@]}"; do
        kill -TERM -- "-$child" 2>/dev/null || kill -TERM "$child" 2>/dev/null || true
    done
    wait 2>/dev/null || true
    ((BASH_SUBSHELL)) || printf '\nstopped; the same command continues from here\n' >&2
    exit "$1"
}

trap_signals() {
    trap 'stop_steps 130' INT
    trap 'stop_steps 143' TERM
    trap 'stop_steps 129' HUP
}

show_progress() { # show_progress LABEL REGEX: of a log's lines, those for a reader; ESPnet's are shortened
    sed -unE -e '/^error: /d' \
        -e "/^(warning: |note: |epoch [0-9]+)/{s|^|    $1: |;p;d}" \
        -e "/ left\$/{s|^|    $1: |;p;d}" \
        ${2:+-e "\\%$2%{s|^ *|    $1: |;p;d}"} \
        -e "s|^.*\\(trainer:[0-9]+\\) INFO: ([0-9]+/[0-9]+epoch started.*)\$|    $1: \\1|p"
}

logged() { # logged LOG LABEL command...: all output to the log, progress also to the reader
    local log=$1 label=$2
    shift 2
    { "$@" 2>&1 | tee -a "$log" 9>&- | show_progress "$label" "${show:-}" 9>&- >&2; } || exit "${PIPESTATUS[0]}"
}

run_in_group() { # run_in_group command...: in a process group, so that a signal reaches all of it
    local child status=0
    set -m
    "$@" </dev/null &
    child=$!
    set +m
    step_children+=("$child")
    trap_signals
    wait "$child" || status=$?
    step_children=()
    return "$status"
}

fail_step() { # fail_step NAME LOG STATUS
    printf 'error: %s failed (exit code %s); the end of %s:\n' "$1" "$3" "$2" >&2
    tail -n 15 "$2" | sed 's/^/  | /' >&2
    exit "$3"
}

move_aside() { # the folder `owns`, if it was begun with another key
    local begun=$log_dir/$name.begun aside
    if [[ -e $owns && -r $begun && $resume_changed != true && ($force == true || $(<"$begun") != "$key") ]]; then
        aside=$owns.before-$(date '+%Y%m%d-%H%M%S')
        mv "$owns" "$aside"
        printf '    %s: its configuration or data changed; starting anew, the earlier one is now %s\n' "$name" "$aside" >&2
    fi
    printf '%s\n' "$key" >"$begun"
}

run_step() { # what step() does once it is clear that the command must run; uses its variables
    local started=$SECONDS status=0
    exec 9>>"$log" # held by the command: a later run must not start beside one that lives on
    if command -v flock >/dev/null && ! flock -n 9; then
        printf 'error: an earlier run of %s is still going\n  remedy: wait for it, or end it (fuser %s names it)\n' \
            "$name" "$log" >&2
        exit 1
    fi
    rm -f "$mark"
    [[ -z $owns ]] || move_aside
    { printf '%q ' "$@" && printf '\n# in %s, on %s, %s\n' "$PWD" "${HOSTNAME:-?}" "$(date '+%F %T')"; } >"$log"
    step_name=$name step_log=$log run_in_group logged "$log" "$name" ${launcher:+"$launcher"} "$@" || status=$?
    exec 9>&-
    ((status == 0)) || fail_step "$name" "$log" "$status"
    local missing=() path
    for path in "${outputs[@]}"; do [[ -e $path ]] || missing+=("$path"); done
    if ((${#missing[@]})); then
        printf 'error: %s ended well but did not make all of: %s\n' "$name" "${missing[*]}" >&2
        printf '  remedy: see in %s what it made instead, and correct the names or the command\n' "$log" >&2
        exit 1
    fi
    printf '%s\n' "$key" "$plain" >"$mark.tmp"
    # An input that changed meanwhile: dated so that the next run reads it and finds out.
    [[ $(step_key) == "$key" ]] || touch -d @0 "$mark.tmp"
    mv "$mark.tmp" "$mark"
    printf 'ran %s %s\n' "$name" "$((SECONDS - started))" >>"$step_journal"
}

step() {
    local name=$1 launcher="" owns="" show="" key="" plain log mark
    local -a inputs=() outputs=()
    shift
    while [[ $1 != -- ]]; do
        case $1 in
            --in) inputs+=("$2") ;;
            --out) outputs+=("$2") ;;
            --run) launcher=$2 ;;
            --owns) owns=$2 ;;
            --show) show=$2 ;;
            *) printf 'error: step %s: unknown word %s\n' "$name" "$1" >&2 && exit 2 ;;
        esac
        shift 2
    done
    shift
    log=$log_dir/$name.log
    mark=$log_dir/$name.done
    plain_command "$@"
    if is_done; then
        printf 'kept %s\n' "$name" >>"$step_journal"
        return 0
    fi
    [[ -n $key ]] || key=$(step_key)
    mkdir -p "$(dirname "$log")"
    if ((pool_limit > 1)); then in_background "$@"; else run_step "$@"; fi
}

pool() {
    pool_limit=$1
    shift
    "$@"
    pool_limit=1
}

in_background() {
    local own=$log
    while ((${#step_children[@]} >= pool_limit)); do pool_reap; done
    trap_signals
    # The subshell's own list of children is what its own traps need.
    # shellcheck disable=SC2030
    (
        log=$own step_children=()
        trap_signals
        run_step "$@"
    ) &
    # shellcheck disable=SC2031
    step_children+=("$!")
}

pool_reap() { # wait until one ends; when it failed, end the others and fail with its code
    local child still=() status
    while ((${#still[@]} == 0)); do
        for child in "${step_children[@]}"; do
            if kill -0 "$child" 2>/dev/null; then
                still+=("$child")
                continue
            fi
            status=0
            wait "$child" || status=$?
            if ((status)); then
                kill -TERM "${step_children[@]}" 2>/dev/null || true
                wait || true
                exit "$status"
            fi
        done
        if ((${#still[@]} < ${#step_children[@]})); then break; fi
        still=()
        sleep 0.05
    done
    step_children=("${still[@]}")
}

pool_wait() {
    while ((${#step_children[@]})); do pool_reap; done
}
