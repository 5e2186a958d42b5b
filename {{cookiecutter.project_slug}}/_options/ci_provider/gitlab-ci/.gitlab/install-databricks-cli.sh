#!/usr/bin/env bash
# Puts the Databricks CLI into .databricks/bin, unless the runner brings this version. Needs DATABRICKS_CLI_VERSION.
# The checksums stand here: one that is downloaded with the archive would be replaced together with it.
set -euo pipefail
if [ "$(databricks --version 2> /dev/null)" = "Databricks CLI v$DATABRICKS_CLI_VERSION" ]; then
  exit 0
fi
case "$(uname -m)" in
  x86_64)
    machine=amd64
    checksum=60833feee22caa98f575c4948ccbbc9473fda0dd80c9b79544dc7b079f6a9815 # of v1.12.1
    ;;
  aarch64 | arm64)
    machine=arm64
    checksum=8c2a3acd5f563fd8e3c9e64ee4566e1ec7cef087934fd4fb099d92b709f7e3a2 # of v1.12.1
    ;;
  *)
    echo "There is no Databricks CLI for $(uname -m)."
    exit 1
    ;;
esac
archive="databricks_cli_${DATABRICKS_CLI_VERSION}_linux_$machine.zip"
mkdir -p .databricks/bin
cd .databricks/bin
curl --fail --silent --show-error --location --retry 3 --proto "=https" --output "$archive" \
  "https://github.com/databricks/cli/releases/download/v$DATABRICKS_CLI_VERSION/$archive"
echo "$checksum  $archive" | sha256sum --check --strict
python3 -m zipfile --extract "$archive" .
rm "$archive"
chmod +x databricks
./databricks --version
