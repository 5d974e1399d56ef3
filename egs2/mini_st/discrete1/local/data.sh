#!/usr/bin/env bash
# Stage 1: prepare the generated corpus, synthesised; writes data/en/{train,valid,test}.
# Called by run.sh. By hand, in the recipe's folder: bash local/data.sh --quick true
set -euo pipefail
recipe=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=../../../../local/path.sh
. "$recipe/../../../local/path.sh" # `python` of the project's environment
exec python -m espnet_ext.pipeline.prepare "$recipe" "$@"
