#!/usr/bin/env bash
# Prints who approved this attempt of this stage. Without an approval by somebody else than whoever started the run the
# release stops, unless the variable group of the environment has a variable APPROVAL_REQUIRED with the value false.
# Needs SYSTEM_ACCESSTOKEN, the token that Azure DevOps makes for this job, so no secret is stored.
set -euo pipefail
api="$SYSTEM_COLLECTIONURI$SYSTEM_TEAMPROJECTID/_apis"
timeline="$api/build/builds/$BUILD_BUILDID/timeline"

get() {
  # On standard input, because other processes can read arguments.
  curl --fail --silent --show-error --retry 3 --header @- "$1" <<< "Authorization: Bearer $SYSTEM_ACCESSTOKEN"
}

read_stage() {
  jq --raw-output --arg stage "$SYSTEM_STAGENAME" "$1"
}

# What a stage waited for stands below it in the timeline: stage, checkpoint, approval.
# shellcheck disable=SC2016 # $stage belongs to jq
below='
  .records as $all
  | $all[] | select(.type == "Stage" and .identifier == $stage) | .id as $stage_id
  | $all[] | select(.type == "Checkpoint" and .parentId == $stage_id) | .id as $checkpoint_id
  | $all[] | select(.type == "Checkpoint.Approval" and .parentId == $checkpoint_id) | .id'
# shellcheck disable=SC2016
attempts='.records[] | select(.type == "Stage" and .identifier == $stage) | .previousAttempts // [] | .[].timelineId'

now=$(get "$timeline?api-version=7.1")
ids=$(read_stage "$below" <<< "$now")
for attempt in $(read_stage "$attempts" <<< "$now"); do # what was approved then is not approved now
  used=$(get "$timeline/$attempt?api-version=7.1" | read_stage "$below")
  ids=$(grep --invert-match --line-regexp --fixed-strings "$used" <<< "$ids" || true)
done

names=""
if [ -n "$ids" ]; then
  # shellcheck disable=SC2016 # $starter belongs to jq
  given='
    if (.value | length) > 0 and all(.value[]; .status == "approved") then .value else [] end
    | [.[].steps[] | select(.status == "approved").actualApprover | select(.id != $starter) | .uniqueName // .displayName]
    | unique | join(", ")'
  names=$(get "$api/pipelines/approvals?approvalIds=$(paste --serial --delimiters=, <<< "$ids")&\$expand=steps&api-version=7.1" |
    jq --raw-output --arg starter "$BUILD_REQUESTEDFORID" "$given")
fi
if [ -n "$names" ]; then
  echo "$names"
elif [ "${APPROVAL_REQUIRED:-}" = false ]; then
  echo "nobody (started by ${BUILD_REQUESTEDFOREMAIL:-$BUILD_REQUESTEDFOR})"
else
  echo "Nobody except whoever started this run approved this attempt of the stage $SYSTEM_STAGENAME." >&2
  echo "Give its environment an approval, as docs/cicd-setup.md says, and run the stage again." >&2
  exit 1
fi
