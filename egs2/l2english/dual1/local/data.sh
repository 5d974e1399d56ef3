#!/usr/bin/env bash
# Stage 1: prepare speechocean762 and L2-ARCTIC as published, and combine their sets; writes data/en/{train,valid,test}.
# Called by run.sh. By hand, in the recipe's folder: bash local/data.sh --speechocean762 PATH --l2arctic PATH
set -euo pipefail
recipe=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=../../../../local/path.sh
. "$recipe/../../../local/path.sh" # `python` of the project's environment

data_dir=data speechocean762="" l2arctic="" test_speakers="TLV TNI" fold=1
shared=() # options of both corpora
while (($#)); do
    case $1 in
        --data_dir | --speechocean762 | --l2arctic | --test_speakers | --fold)
            printf -v "${1#--}" '%s' "$2"
            ;;
        --langs)
            if [[ $2 != en ]]; then
                printf 'error: --langs %s: both corpora are English\n  remedy: --langs en\n' "$2" >&2
                exit 2
            fi
            ;;
        --quick | --nj | --overwrite) shared+=("$1" "$2") ;;
        *)
            printf 'error: local/data.sh: unknown option %s\n  remedy: remove it\n' "$1" >&2
            exit 2
            ;;
    esac
    shift 2
done

prepare() { # prepare CORPUS OPTION…
    python -m espnet_ext.bin.prepare "$1" --data_dir "${data_dir}/$1" "${shared[@]}" "${@:2}"
}
prepare speechocean762 --corpus_dir "${speechocean762}"
prepare l2arctic --corpus_dir "${l2arctic}" --split disjoint --test_speakers "${test_speakers}" --fold "${fold}"
for set in train valid test; do
    python -m espnet_ext.bin.combine --output "${data_dir}/en/${set}" \
        --inputs "${data_dir}/speechocean762/en/${set}" "${data_dir}/l2arctic/en/${set}"
done
