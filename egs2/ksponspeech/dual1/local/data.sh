#!/usr/bin/env bash
# Stage 1: prepare KsponSpeech as delivered; writes data/ko/{train,dev,eval_clean,eval_other}.
# Called by run.sh. By hand, in the recipe's folder: bash local/data.sh --ksponspeech PATH
set -euo pipefail
recipe=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=../../../../local/path.sh
. "$recipe/../../../local/path.sh" # `python` of the project's environment
exec python -m espnet_ext.pipeline.prepare "$recipe" "$@"
