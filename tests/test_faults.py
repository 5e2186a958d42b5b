"""Promotions that die anywhere, on real MLflow and Delta: promotion_faults.py runs inside a rendered project."""

import re
from pathlib import Path

import pytest
from conftest import Bake
from helpers import run

FAULTS = Path(__file__).with_name("promotion_faults.py")


@pytest.mark.slow
def test_promotions_that_are_cut_off(bake_anew: Bake) -> None:
    # hybrid and deploy-model share every file that a promotion runs.
    project = bake_anew(deployment_pattern="hybrid")
    text = FAULTS.read_text(encoding="utf-8").replace("PACKAGE", "fraud_detection")
    (project / "tests" / "integration" / "test_promotion_faults.py").write_text(text, encoding="utf-8")
    for command in ("uv sync", "uv run pytest -q tests/integration/test_promotion_faults.py"):
        result = run(*command.split(), cwd=project, timeout=1200)
        assert result.returncode == 0, result.stdout[-6000:]
    passed = re.search(r"(\d+) passed", result.stdout)
    assert passed and int(passed[1]) >= 16, result.stdout[-2000:]
