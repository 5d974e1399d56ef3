#!/usr/bin/env bash
# Stage 1: Common Voice as published becomes data/<lang>/{train,valid,test}.
# Called by run.sh; by hand, within this recipe's folder: bash local/data.sh --commonvoice PATH
set -euo pipefail
recipe=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
root=$(cd "$recipe/../../.." && pwd)
# shellcheck source=local/parse_options.sh
. "$root/local/parse_options.sh"

option data_dir data "where <lang>/<set> is written"
option langs en "locales, such as \"en de\""
option quick false "a small part of each set"
option nj 2 "files at a time"
read_settings "$recipe/conf/recipe.conf"
parse_options "$@"

# shellcheck disable=SC2154 # the recipe's settings are declared by read_settings
{
    [[ -n $commonvoice ]] || bad_usage "--commonvoice is not given" \
        "name the corpus folder; egs2/commonvoice/dual1/README.md says how to get it"
    export PYTHONPATH=$root${PYTHONPATH:+:$PYTHONPATH}
    exec python -m espnet_ext.bin.prepare commonvoice --data_dir "$data_dir" --quick "$quick" \
        --corpus_dir "$commonvoice" --langs "$langs" --train "$train_clips" --text "$text" \
        --skip_unreadable "$skip_unreadable" --nj "$nj"
}
