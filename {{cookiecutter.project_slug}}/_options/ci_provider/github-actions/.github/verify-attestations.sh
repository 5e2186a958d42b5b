#!/usr/bin/env bash
# Stops the release unless GitHub has signed that release-code of this repository built the wheel in dist/ from COMMIT,
# and what it holds. Needs GH_TOKEN with attestations: read.
set -euo pipefail
for statement in https://slsa.dev/provenance/v1 https://cyclonedx.org/bom; do
  gh attestation verify dist/*.whl --predicate-type "$statement" --repo "$GITHUB_REPOSITORY" \
    --signer-workflow "$GITHUB_REPOSITORY/.github/workflows/{{ cookiecutter.__unit }}release-code.yml" --source-digest "$COMMIT"{{ " \\\n    --deny-self-hosted-runners" if not cookiecutter.runner }}
done
