#!/usr/bin/env bash
# Stage 1: KsponSpeech as delivered becomes data/ko/{train,dev,eval_clean,eval_other}.
# Called by run.sh; by hand, within this recipe's folder: bash local/data.sh --ksponspeech PATH
set -euo pipefail
recipe=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
root=$(cd "$recipe/../../.." && pwd)
# shellcheck source=local/parse_options.sh
. "$root/local/parse_options.sh"

option data_dir data "where <lang>/<set> is written"
option langs ko "language"
option quick false "a small part of each set"
option nj 1 "parallel jobs"
read_settings "$recipe/conf/recipe.conf"
parse_options "$@"

# shellcheck disable=SC2154 # the recipe's settings are declared by read_settings
{
    [[ $langs == ko ]] || bad_usage "--langs '$langs': this corpus has Korean only" "--langs ko"
    [[ -n $ksponspeech ]] || bad_usage "--ksponspeech is not given" \
        "name the folder that AI Hub's archives lie in; egs2/ksponspeech/dual1/README.md says how to get it"
    export PYTHONPATH=$root${PYTHONPATH:+:$PYTHONPATH}
    exec python -m espnet_ext.bin.prepare ksponspeech --data_dir "$data_dir" --quick "$quick" --nj "$nj" \
        --corpus_dir "$ksponspeech" --labels "$labels" --disfluencies "$disfluencies" \
        --unintelligible "$unintelligible" --skip_unreadable "$skip_unreadable"
}
