#!/usr/bin/env bash
# Stage 1: prepare speechocean762 and L2-ARCTIC as published, and combine their sets; writes data/en/{train,valid,test}.
# Called by run.sh. By hand, in the recipe's folder: bash local/data.sh --speechocean762 PATH --l2arctic PATH
set -euo pipefail

bad_usage() { # bad_usage MESSAGE REMEDY
    printf 'error: %s\n  remedy: %s\n' "$1" "$2" >&2
    exit 2
}

recipe=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=../../../../local/path.sh
. "$recipe/../../../local/path.sh" # `python` of the project's environment

data_dir=data speechocean762="" l2arctic="" l2arctic_speakers="TLV TNI" l2arctic_fold=1
shared=() overwrite=() # options of both corpora; of all commands
while (($#)); do
    case $1 in
        --data_dir | --speechocean762 | --l2arctic | --l2arctic_speakers | --l2arctic_fold | --langs | \
            --quick | --nj | --overwrite)
            (($# > 1)) || bad_usage "$1 needs a value" "write $1 VALUE"
            ;;&
        --langs) [[ $2 == en ]] || bad_usage "--langs $2: both corpora have only en" "--langs en" ;;
        --quick | --nj) shared+=("$1" "$2") ;;
        --overwrite) overwrite=("$1" "$2") ;;
        --data_dir | --speechocean762 | --l2arctic | --l2arctic_speakers | --l2arctic_fold)
            printf -v "${1#--}" '%s' "$2"
            ;;
        *) bad_usage "local/data.sh: unknown option $1" "see the beginning of ${BASH_SOURCE[0]}" ;;
    esac
    shift 2
done
for corpus in speechocean762 l2arctic; do
    [[ -n ${!corpus} ]] || bad_usage "--${corpus} is not given" "name the folder of the unpacked corpus: --${corpus} PATH"
done

prepare() { # prepare CORPUS OPTION…
    python -m espnet_ext.bin.prepare "$1" --data_dir "${data_dir}/$1" "${shared[@]}" "${overwrite[@]}" "${@:2}"
}
prepare speechocean762 --corpus_dir "${speechocean762}"
prepare l2arctic --corpus_dir "${l2arctic}" --split disjoint --test_speakers "${l2arctic_speakers}" --fold "${l2arctic_fold}"
for set in train valid test; do
    python -m espnet_ext.bin.combine --output "${data_dir}/en/${set}" "${overwrite[@]}" \
        --inputs "${data_dir}/speechocean762/en/${set}" "${data_dir}/l2arctic/en/${set}"
done
