# shellcheck shell=bash
# Where a step's command runs: on this machine, or as one slurm job that is waited for.
#
#   step NAME ... --run launch -- command...     with $cmd local or slurm
#
# Reads $launch_gpus, $launch_cpus, $launch_nodes (set by the caller for the step), $slurm_options,
# and from step(): $step_name, $step_log. Local commands run as they are.

launch() {
    case ${cmd:-local} in
        local) "$@" ;;
        slurm) launch_slurm "$@" ;;
    esac
}

launch_slurm() { # submit, wait, and return the job's own exit code
    local script options=() name=${step_name:-step} log=${step_log:-/dev/null}
    options=(--wait --job-name "${name//\//.}" --output "$log" --open-mode append
        --nodes "${launch_nodes:-1}" --ntasks-per-node 1 --cpus-per-task "${launch_cpus:-1}")
    if ((${launch_gpus:-0} > 0)); then options+=(--gpus-per-node "$launch_gpus"); fi
    # Words of --slurm_options are sbatch's own options, so they are split here.
    # shellcheck disable=SC2206
    options+=(${slurm_options:-})
    script=${log%.log}.sbatch
    {
        printf '#!/usr/bin/env bash\nset -euo pipefail\ncd %q\n' "$PWD"
        printf 'srun'
        printf ' %q' "$@"
        printf '\n'
    } >"$script"
    # --parsable prints the job's number as soon as it is queued; --wait then gives its exit code.
    sbatch --parsable "${options[@]}" "$script" >"${log%.log}.job" &
    trap 'scancel "$(cut -d ";" -f 1 "${log%.log}.job")"; exit 143' INT TERM HUP
    wait "$!"
}

check_launcher() { # wrong combinations are said before any work
    case $cmd in
        local)
            ((${num_nodes:-1} == 1)) || bad_usage "--num_nodes $num_nodes with --cmd local" "several nodes need --cmd slurm"
            ;;
        slurm)
            command -v sbatch >/dev/null || bad_usage "--cmd slurm, but there is no sbatch here" \
                "run on a machine that submits to slurm, or use --cmd local"
            ;;
        *) bad_usage "--cmd $cmd: no such launcher" "use local or slurm" ;;
    esac
}
