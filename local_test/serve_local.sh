#!/usr/bin/env bash
# Serve the model of test_dir on port 8080 (or PORT): with an image's name, in a container of that image;
# without, with the `serve` of .venv. Ctrl-C stops it; predict.sh asks it.
#   local_test/serve_local.sh [IMAGE]
set -euo pipefail
cd "$(dirname "$0")"
port=${PORT:-8080}
if [ $# -gt 0 ]; then
  exec docker run --rm -p "127.0.0.1:$port:8080" -v "$PWD/test_dir/model:/opt/ml/model:ro" "$1" serve
fi
FM_OPT_ML=$PWD/test_dir SAGEMAKER_BIND_TO_PORT=$port exec ../.venv/bin/serve
