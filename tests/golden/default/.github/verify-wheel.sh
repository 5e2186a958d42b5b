#!/usr/bin/env bash
# Stands in for the build in every release: nothing is built beside a token. There must be one wheel in dist/, and it
# must be the one with the checksum in WHEEL_SHA256, which the job that built it handed on apart from the wheel.
set -euo pipefail
set -- dist/*.whl
if [ $# != 1 ]; then
  echo "dist/ holds $# wheels, not one. Run all jobs of release-code again."
  exit 1
fi
echo "$WHEEL_SHA256  $1" | sha256sum --check --strict
