#!/usr/bin/env bash
# Stands in for the build in every release: nothing is built beside a token. There must be one wheel in dist/, and it
# must be the one with the checksum in WHEEL_SHA256, which the job that built it handed on apart from the wheel.
set -euo pipefail
wheels=(dist/*.whl)
if [ "${#wheels[@]}" != 1 ]; then
  echo "dist/ holds ${#wheels[@]} wheels. Run the release from its job Build on, which makes one."
  exit 1
fi
echo "$WHEEL_SHA256  ${wheels[0]}" | sha256sum --check --strict
