#!/usr/bin/env bash
# Prints, as outputs of a step, who approved the environment prod in this run, and which run that is. Stops the release
# where nobody else approved: no review, only a rejection, or an admin who let the job pass its reviewers.
# Needs GH_TOKEN with actions: read, and APPROVAL_REQUIRED, the variable of the environment prod. STARTER is who started
# the release, where that was not the start of this run.
set -euo pipefail
repository="repos/$GITHUB_REPOSITORY"
run="$repository/actions/runs/$GITHUB_RUN_ID"
starter="${STARTER:-$GITHUB_ACTOR}"
started="started by $starter, attempt $GITHUB_RUN_ATTEMPT by $GITHUB_TRIGGERING_ACTOR"

rules=$(gh api "$repository/environments/{{ cookiecutter.__unit }}prod" --jq '.protection_rules[] | select(.type == "required_reviewers") | .id')
approvals=$(gh api --paginate "$run/approvals" \
  --jq '.[] | select(.state == "approved" and any(.environments[]; .name == "{{ cookiecutter.__unit }}prod")) | .user.login')
# A review does not say of which attempt it is. So there must be one for each attempt in which this job got a runner.
attempts=$(gh api --paginate "$run/jobs?filter=all" --jq '.jobs[] | select(.name == "Prod" and (.runner_id // 0) > 0) | .id')
last="${approvals##*$'\n'}"

if [ -z "$rules" ] && [ "$APPROVAL_REQUIRED" = false ]; then
  echo "name=nobody ($started)"
elif [ -z "$rules" ]; then
  echo "The environment prod has no required reviewers. Give it some, or see docs/releasing.md." >&2
  exit 1
elif [ "$(wc -w <<< "$approvals")" -lt "$(wc -w <<< "$attempts")" ] || [ -z "$approvals" ]; then
  echo "Nobody approved this attempt: found '${approvals//$'\n'/, }'. Run the job again, and let a reviewer approve it." >&2
  exit 1
elif [ "$last" = "$starter" ] || [ "$last" = "$GITHUB_TRIGGERING_ACTOR" ]; then
  echo "$last started this, so somebody else has to approve it. Run the job again." >&2
  exit 1
else
  echo "name=$last"
fi
echo "run=$GITHUB_SERVER_URL/$GITHUB_REPOSITORY/actions/runs/$GITHUB_RUN_ID, $started"
