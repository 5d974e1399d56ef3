#!/usr/bin/env bash
# Stage 1: speak the embedded corpus and write data/<lang>/{train,valid,test}.
# Options are those of `python -m espnet_ext.bin.prepare mini_l2 --help`:
#   local/data.sh --langs "ko en" --quick true --nj 2
set -euo pipefail

exec python -m espnet_ext.bin.prepare mini_l2 --data_dir data "$@"
