#!/usr/bin/env bash
# Prints who approved this stage of this run. Where the stage asks for no approval, whoever started the run answers for it.
# Needs SYSTEM_ACCESSTOKEN, the token that Azure DevOps makes for this job, so no secret is stored.
set -euo pipefail
api="$SYSTEM_COLLECTIONURI$SYSTEM_TEAMPROJECTID/_apis"

get() {
  # On standard input, because other processes can read arguments.
  curl --fail --silent --show-error --retry 3 --header @- "$1" <<< "Authorization: Bearer $SYSTEM_ACCESSTOKEN"
}

# What a stage waited for stands below it in the timeline: stage, checkpoint, approval.
# shellcheck disable=SC2016 # $stage belongs to jq
below='
  .records as $all
  | $all[] | select(.type == "Stage" and .identifier == $stage) | .id as $stage_id
  | $all[] | select(.type == "Checkpoint" and .parentId == $stage_id) | .id as $checkpoint_id
  | $all[] | select(.type == "Checkpoint.Approval" and .parentId == $checkpoint_id) | .id'
ids=$(get "$api/build/builds/$BUILD_BUILDID/timeline?api-version=7.1" |
  jq --raw-output --arg stage "$SYSTEM_STAGENAME" "[$below] | join(\",\")")
if [ -z "$ids" ]; then
  echo "${BUILD_REQUESTEDFOREMAIL:-$BUILD_REQUESTEDFOR}"
  exit
fi

given='[.value[].steps[] | select(.status == "approved").actualApprover | .uniqueName // .displayName]'
names=$(get "$api/pipelines/approvals?approvalIds=$ids&\$expand=steps&api-version=7.1" |
  jq --raw-output "$given | unique | join(\", \")")
if [ -z "$names" ]; then
  echo "The stage $SYSTEM_STAGENAME had an approval, but Azure DevOps does not say whose." >&2
  exit 1
fi
echo "$names"
