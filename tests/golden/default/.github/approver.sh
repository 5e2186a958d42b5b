#!/usr/bin/env bash
# Prints, as outputs of a step, who approved the environment prod in this run, and the address of the run.
# Where prod has no required reviewers, whoever started the run answers for it. Needs GH_TOKEN with actions: read.
set -euo pipefail
run="$GITHUB_REPOSITORY/actions/runs/$GITHUB_RUN_ID"
approved='[.[] | select(.state == "approved" and any(.environments[]; .name == "prod")) | .user.login] | last // empty'
name=$(gh api "repos/$run/approvals" --jq "$approved")
echo "name=${name:-$GITHUB_ACTOR}"
echo "run=$GITHUB_SERVER_URL/$run"
