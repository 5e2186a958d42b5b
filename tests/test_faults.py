"""Promotions that die anywhere, attacks on them, two operations at once: files that run inside a rendered project."""

import re
from pathlib import Path

import pytest
from conftest import Bake
from helpers import run, sync

LEAST = {"promotion_faults": 25, "interleavings": 4}  # tests in each file


@pytest.mark.slow
def test_promotions_under_faults_and_attacks(bake_anew: Bake) -> None:
    # hybrid and deploy-model share every file that a promotion runs.
    project = bake_anew(deployment_pattern="hybrid")
    for name in LEAST:
        text = Path(__file__).with_name(f"{name}.py").read_text(encoding="utf-8").replace("PACKAGE", "fraud_detection")
        (project / "tests" / "integration" / f"test_{name}.py").write_text(text, encoding="utf-8")
    sync(project)
    for name, least in LEAST.items():
        command = f"uv run --with greenlet pytest -q tests/integration/test_{name}.py"
        result = run(*command.split(), cwd=project, timeout=1200)
        assert result.returncode == 0, result.stdout[-6000:]
        passed = re.search(r"(\d+) passed", result.stdout)
        assert passed and int(passed[1]) >= least, result.stdout[-2000:]
