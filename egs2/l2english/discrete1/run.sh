#!/usr/bin/env bash
# Run the stages of the repository's run.sh for this recipe; its settings are in conf/recipe.conf.
set -euo pipefail
recipe=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
exec bash "$recipe/../../../run.sh" --recipe "$recipe" "$@"
