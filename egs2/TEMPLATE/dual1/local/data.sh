#!/usr/bin/env bash
# Stage 1: a manifest becomes data/<lang>/{train,valid,test}.
# Called by run.sh; by hand, within this recipe's folder: bash local/data.sh --manifest FILE
set -euo pipefail
recipe=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
root=$(cd "$recipe/../../.." && pwd)
# shellcheck source=local/parse_options.sh
. "$root/local/parse_options.sh"

option data_dir data "where <lang>/<set> is written"
option langs en "languages of the corpus"
option quick false "a small part of each set"
option nj 1 "parallel jobs (reading takes one)"
read_settings "$recipe/conf/recipe.conf"
parse_options "$@"

# shellcheck disable=SC2154 # the recipe's settings are declared by read_settings
{
    [[ -n $manifest ]] || bad_usage "--manifest is not given" "name the table of the corpus; see README.md"
    export PYTHONPATH=$root${PYTHONPATH:+:$PYTHONPATH}
    # Rows without a language in the manifest are of the first one.
    exec python -m espnet_ext.bin.prepare plain --data_dir "$data_dir" --quick "$quick" \
        --manifest "$manifest" --lang "${langs%% *}" --skip_unreadable "$skip_unreadable"
}
