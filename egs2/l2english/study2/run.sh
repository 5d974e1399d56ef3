#!/usr/bin/env bash
# Run the grid of trainings of this recipe (local/study.sh); its design is in conf/study.yaml.
set -euo pipefail
recipe=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
exec bash "$recipe/../../../local/study.sh" --study "$recipe" "$@"
