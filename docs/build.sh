#!/usr/bin/env bash
# Build the documentation as a web site that needs no network to read. It takes about a minute.
#   bash docs/build.sh [DIR]    # default: build/site; open DIR/index.html
# It needs the extra docs: pip install -e ".[docs]" -c local/constraints.txt
set -euo pipefail
case ${1:-} in
    -h | --help) sed -n '2,4s/^# //p' "${BASH_SOURCE[0]}" && exit 0 ;;
    -*)
        printf 'error: unknown option %s\n  remedy: bash docs/build.sh [DIR]\n' "$1" >&2
        exit 2
        ;;
esac
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
target=${1:-${root}/build/site}
mkdir -p "${target}"
target=$(cd "${target}" && pwd)
pages=$(mktemp -d)
trap 'rm -rf "${pages}"' EXIT
export PYTHONPATH=${root}${PYTHONPATH:+:${PYTHONPATH}}
python=${PYTHON:-python}
"${python}" "${root}/docs/site/site_pages.py" "${pages}"
# Every warning is an error: links to pages and headings that do not exist, broken markup
"${python}" -m sphinx --fail-on-warning --keep-going --quiet -b html -c "${root}/docs/site" \
    -d "${pages}/.doctrees" "${pages}" "${target}"
"${python}" "${root}/docs/site/check_links.py" "${target}"
printf '%s/index.html\n' "${target}"
