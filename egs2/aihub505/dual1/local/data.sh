#!/usr/bin/env bash
# Stage 1: AI Hub 505 as delivered becomes data/ko/{train,valid,test}.
# Called by run.sh; by hand, within this recipe's folder: bash local/data.sh --aihub505 PATH
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
    [[ -n $aihub505 ]] || bad_usage "--aihub505 is not given" \
        "name the folder that AI Hub's archives lie in; egs2/aihub505/dual1/README.md says how to get it"
    export PYTHONPATH=$root${PYTHONPATH:+:$PYTHONPATH}
    exec python -m espnet_ext.bin.prepare aihub505 --data_dir "$data_dir" --quick "$quick" --nj "$nj" \
        --corpus_dir "$aihub505" --split "$split" --disfluencies "$disfluencies" \
        --unintelligible "$unintelligible" --personal "$personal" \
        --pseudonym_key_file "$pseudonym_key_file" --skip_unreadable "$skip_unreadable"
}
