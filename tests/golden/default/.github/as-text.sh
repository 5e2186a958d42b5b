#!/usr/bin/env bash
# Runs the script of a step where the programs print what a registry, a job or a plan says: to GitHub all of it is text,
# so none of it can set, hide or report anything. It is the shell of the jobs that log in.
set -euo pipefail
token=$(openssl rand -hex 16) # ends the text; nobody can have written it before
echo "::stop-commands::$token"
code=0
bash -eo pipefail "$1" 2>&1 || code=$?
printf '\n::%s::\n' "$token"
exit "$code"
