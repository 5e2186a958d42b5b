#!/usr/bin/env bash
# Puts the Databricks CLI into .databricks/bin, unless the runner brings this version. Needs DATABRICKS_CLI_VERSION.
# The checksums stand here: one that is downloaded with the archive would be exchanged together with it.
set -euo pipefail
if [ "$(databricks --version 2> /dev/null)" = "Databricks CLI v$DATABRICKS_CLI_VERSION" ]; then
  exit 0
fi
case "$(uname -m)" in
  x86_64)
    machine=amd64
    checksum=10938da31db7f89e6e90f6be41d340e3387231e5da5125cfc97ecb8cb66f6394 # of v1.9.0
    ;;
  aarch64 | arm64)
    machine=arm64
    checksum=a4fcc3b70ed4b26f0e8064e39287d0692218cf3d2f549042d66d04c9ad2d692a # of v1.9.0
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
