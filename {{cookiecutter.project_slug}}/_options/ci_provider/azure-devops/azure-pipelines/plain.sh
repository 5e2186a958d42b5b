#!/usr/bin/env bash
# Runs a command, and lets the agent show what it says as text: plain.sh COMMAND ARGUMENT ...
# In a log the agent obeys ##vso[...], and names, tags and descriptions of a model can say anything.
set -euo pipefail
text() {
  sed --unbuffered 's/\r//g; s/##\(vso\)\?\[/## \1[/gI'
}
{ "$@" 2>&1 >&3 3>&- | text >&2 3>&-; } 3>&1 | text
