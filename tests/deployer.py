"""Takes the place of the Databricks CLI behind a stand-in: notes what it would deploy, after the build of the bundle.

deployer.py FILE bundle ARGUMENT ...
"""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

noted, arguments = Path(sys.argv[1]), sys.argv[2:]
if arguments[1] == "deploy":
    settings = ("BUNDLE_VAR_", "DATABRICKS_BUNDLE_")
    told = {name.lower(): value for name, value in os.environ.items() if name.startswith(settings)}
    built = subprocess.run(told["bundle_var_build"], shell=True)
    if built.returncode:
        sys.exit(built.returncode)
    commit = subprocess.run(["git", "rev-parse", "HEAD"], stdout=subprocess.PIPE, text=True, check=True).stdout.strip()
    (wheel,) = Path("dist").glob("*.whl")
    deployed = {
        "target": arguments[-1],
        "commit": commit,
        "sources": Path("databricks.yml").read_text(encoding="utf-8"),
        "wheel": hashlib.sha256(wheel.read_bytes()).hexdigest(),
        "told": sorted(told),
    }
    with noted.open("a", encoding="utf-8") as file:
        file.write(json.dumps(deployed) + "\n")
