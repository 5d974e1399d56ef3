#!/usr/bin/env bash
# Stage 1: L2-ARCTIC as published becomes data/en/{train,valid,test}.
# Called by run.sh; by hand, within this recipe's folder: bash local/data.sh --l2arctic PATH
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
    [[ -n $l2arctic$archive ]] || bad_usage "--l2arctic is not given" \
        "name the corpus folder, or the archive with --archive FILE; egs2/l2arctic/dual1/README.md says how to get it"
    export PYTHONPATH=$root${PYTHONPATH:+:$PYTHONPATH}
    exec python -m espnet_ext.bin.prepare l2arctic --data_dir "$data_dir" --quick "$quick" \
        --corpus_dir "$l2arctic" --archive "$archive" --sha256 "$sha256" --split "$split" \
        --unannotated "$unannotated" --unidentified "$unidentified" --suitcase "$suitcase" \
        --skip_unreadable "$skip_unreadable" --nj "$nj"
}
