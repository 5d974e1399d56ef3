#!/usr/bin/env bash
# Stage 1: speechocean762 as published becomes data/en/{train,valid,test}.
# Called by run.sh; by hand, within this recipe's folder: bash local/data.sh --speechocean762 PATH
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
    [[ -n $speechocean762$archive || $download == true ]] || bad_usage "--speechocean762 is not given" \
        "name the corpus folder, or the archive with --archive FILE, or have it fetched with --download true"
    export PYTHONPATH=$root${PYTHONPATH:+:$PYTHONPATH}
    exec python -m espnet_ext.bin.prepare speechocean762 --data_dir "$data_dir" --quick "$quick" \
        --corpus_dir "$speechocean762" --archive "$archive" --download "$download" \
        --sha256 "$sha256" --accept_unverified "$accept_unverified" --skip_unreadable "$skip_unreadable" --nj "$nj"
}
