#!/usr/bin/env bash
# All stages are those of the root's run.sh; this recipe's settings are in conf/recipe.conf.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
exec bash "$here/../../../run.sh" --recipe "$here" "$@"
