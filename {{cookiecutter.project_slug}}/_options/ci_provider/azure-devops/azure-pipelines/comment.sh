#!/usr/bin/env bash
# Shows a file as a comment on the pull request of this run: comment.sh FILE. Its first line tells the comments apart, so
# the next run replaces its own. Needs SYSTEM_ACCESSTOKEN, and that the Build Service may contribute to pull requests.
set -euo pipefail
if [ -z "${SYSTEM_PULLREQUEST_PULLREQUESTID:-}" ]; then
  exit # started by hand
fi
requests="$SYSTEM_COLLECTIONURI$SYSTEM_TEAMPROJECTID/_apis/git/repositories/$BUILD_REPOSITORY_ID/pullRequests"
threads="$requests/$SYSTEM_PULLREQUEST_PULLREQUESTID/threads"
json="$AGENT_TEMPDIRECTORY/comment.json"

call() {
  # On standard input, because other processes can read arguments.
  curl --fail --silent --show-error --header @- --header "Content-Type: application/json" "$@" \
    <<< "Authorization: Bearer $SYSTEM_ACCESSTOKEN"
}

title=$(head -n 1 "$1")
found=$(call "$threads?api-version=7.1" | jq --raw-output --arg title "$title" '
  [.value[] | .id as $thread | .comments[] | select(.content // "" | startswith($title)) | "\($thread)/comments/\(.id)"]
  | first // empty')
# Azure DevOps takes 150000 characters.
if [ -n "$found" ]; then
  jq --null-input --rawfile text "$1" '{content: $text[:140000]}' > "$json"
  call --request PATCH --data "@$json" "$threads/$found?api-version=7.1" > /dev/null
else
  # Closed, so that it does not wait for anybody to resolve it.
  jq --null-input --rawfile text "$1" \
    '{status: "closed", comments: [{parentCommentId: 0, commentType: "text", content: $text[:140000]}]}' > "$json"
  call --request POST --data "@$json" "$threads?api-version=7.1" > /dev/null
fi
