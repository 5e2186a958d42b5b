#!/usr/bin/env bash
# Puts the Databricks CLI into .databricks/bin, unless the runner brings this version. Needs DATABRICKS_CLI_VERSION.
# What was downloaded must have the checksum that the release itself names.
set -euo pipefail
if [ "$(databricks --version 2> /dev/null)" = "Databricks CLI v$DATABRICKS_CLI_VERSION" ]; then
  exit 0
fi
case "$(uname -m)" in
  x86_64) machine=amd64 ;;
  aarch64 | arm64) machine=arm64 ;;
  *) echo "There is no Databricks CLI for $(uname -m)."; exit 1 ;;
esac
archive="databricks_cli_${DATABRICKS_CLI_VERSION}_linux_$machine.tar.gz"
sums="databricks_cli_${DATABRICKS_CLI_VERSION}_SHA256SUMS"
mkdir -p .databricks/bin
cd .databricks/bin
for file in "$archive" "$sums"; do
  curl --fail --silent --show-error --location --retry 3 --proto "=https" --output "$file" \
    "https://github.com/databricks/cli/releases/download/v$DATABRICKS_CLI_VERSION/$file"
done
sha256sum --check --strict --ignore-missing "$sums"
tar --extract --gzip --file "$archive" databricks
rm "$archive" "$sums"
./databricks --version
