#!/usr/bin/env bash
# The embedded corpus: all stages are those of the root's run.sh.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
exec bash "$here/../../../run.sh" --recipe "$here" "$@"
