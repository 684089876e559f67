#!/usr/bin/env bash
# Train on test_dir: with an image's name, in a container of that image; without, with the `train` of .venv.
#   local_test/train_local.sh [IMAGE]
set -euo pipefail
cd "$(dirname "$0")"
if [ $# -gt 0 ]; then
  exec docker run --rm -v "$PWD/test_dir:/opt/ml" "$1" train
fi
FM_OPT_ML=$PWD/test_dir exec ../.venv/bin/train
