#!/usr/bin/env bash
# Stage 1: a data set of AI Hub's learners' speech becomes data/<lang>/{train,valid,test}.
# Called by run.sh; by hand, within this recipe's folder: bash local/data.sh --aihub_l2 PATH
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
    [[ $langs == ko || $langs == en ]] || bad_usage "--langs '$langs': a data set has one language" \
        "--langs ko, or --langs en for English by Koreans"
    [[ -n $aihub_l2 ]] || bad_usage "--aihub_l2 is not given" \
        "name the folder that AI Hub's archives lie in; egs2/aihub_l2/dual1/README.md says how to get it"
    export PYTHONPATH=$root${PYTHONPATH:+:$PYTHONPATH}
    exec python -m espnet_ext.bin.prepare aihub_l2 --data_dir "$data_dir" --quick "$quick" --nj "$nj" \
        --corpus_dir "$aihub_l2" --lang "$langs" --split "$split" --read_tasks "$read_tasks" \
        --disfluencies "$disfluencies" --unintelligible "$unintelligible" --personal "$personal" \
        --pseudonym_key_file "$pseudonym_key_file" --skip_unreadable "$skip_unreadable"
}
