#!/usr/bin/env bash
# Send a file to the endpoint of serve_local.sh and print the answer.
#   local_test/predict.sh [FILE [CONTENT_TYPE [ACCEPT]]]
set -euo pipefail
file=${1:-$(dirname "$0")/test_dir/request.json}
curl --silent --show-error --fail-with-body --data-binary "@$file" \
  -H "Content-Type: ${2:-application/json}" -H "Accept: ${3:-application/json}" \
  "http://127.0.0.1:${PORT:-8080}/invocations"
echo
