#!/usr/bin/env bash
# Stage 1: Speak & Improve as published becomes data/en/{train,valid,test}.
# Called by run.sh; by hand, within this recipe's folder: bash local/data.sh --speakandimprove PATH
set -euo pipefail
recipe=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
root=$(cd "$recipe/../../.." && pwd)
# shellcheck source=local/parse_options.sh
. "$root/local/parse_options.sh"

option data_dir data "where <lang>/<set> is written"
option langs en "languages; this corpus has one"
option quick false "a small part of each set"
option nj 2 "files at a time"
read_settings "$recipe/conf/recipe.conf"
parse_options "$@"

# shellcheck disable=SC2154 # the recipe's settings are declared by read_settings
{
    [[ $langs == en ]] || bad_usage "--langs '$langs': this corpus has English only" "--langs en"
    [[ -n $speakandimprove ]] || bad_usage "--speakandimprove is not given" \
        "name the corpus folder; egs2/speakandimprove/dual1/README.md says how to get it"
    [[ $hesitation != none ]] || hesitation=""
    export PYTHONPATH=$root${PYTHONPATH:+:$PYTHONPATH}
    exec python -m espnet_ext.bin.prepare speakandimprove --data_dir "$data_dir" --quick "$quick" \
        --corpus_dir "$speakandimprove" --hesitation "$hesitation" --partials "$partials" \
        --skip_unreadable "$skip_unreadable" --nj "$nj"
}
