#!/usr/bin/env bash
# Stage 1: the sets of egs2/l2english/dual1; writes data/en/{train,valid,test}.
# Called by run.sh. By hand, in the recipe's folder: bash local/data.sh --speechocean762 PATH --l2arctic PATH
set -euo pipefail
recipe=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
exec bash "$recipe/../dual1/local/data.sh" "$@"
