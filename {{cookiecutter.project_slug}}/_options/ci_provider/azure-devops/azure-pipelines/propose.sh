#!/usr/bin/env bash
# Proposes the update of the template in a folder as a pull request: propose.sh FOLDER. Needs SYSTEM_ACCESSTOKEN, and that
# the Build Service may contribute to this repository, create branches and contribute to pull requests.
set -euo pipefail
branch=$(cat "$1/branch")
if [ -z "$branch" ]; then
  echo "The project is up to date."
  exit
fi
if ! [[ "$branch" =~ ^template-update-[A-Za-z0-9.-]+$ ]]; then
  echo "That is no branch of an update."
  exit 1
fi
# Not as arguments, which other processes can read.
export GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0=http.extraHeader GIT_CONFIG_VALUE_0="Authorization: Bearer $SYSTEM_ACCESSTOKEN"
if git ls-remote --exit-code --heads origin "$branch" > /dev/null; then
  echo "$branch is proposed already."
  exit
fi
git fetch --quiet "$1/update.bundle" "$branch"
git push --quiet origin "FETCH_HEAD:refs/heads/$branch"
git log -1 --format=%b FETCH_HEAD > "$AGENT_TEMPDIRECTORY/description.md"
# Azure DevOps takes 4000 characters; the commit has all of them.
jq --null-input --arg branch "$branch" --arg title "$(git log -1 --format=%s FETCH_HEAD)" \
  --rawfile text "$AGENT_TEMPDIRECTORY/description.md" \
  '{sourceRefName: "refs/heads/\($branch)", targetRefName: "refs/heads/main", title: $title, description: $text[:4000]}' \
  > "$AGENT_TEMPDIRECTORY/request.json"
requests="$SYSTEM_COLLECTIONURI$SYSTEM_TEAMPROJECTID/_apis/git/repositories/$BUILD_REPOSITORY_ID/pullRequests"
curl --fail --silent --show-error --header @- --header "Content-Type: application/json" --request POST \
  --data "@$AGENT_TEMPDIRECTORY/request.json" "$requests?api-version=7.1" \
  <<< "Authorization: Bearer $SYSTEM_ACCESSTOKEN" > /dev/null
