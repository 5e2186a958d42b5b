from datetime import date, timedelta

import numpy as np
import pandas as pd
import pytest

from {{ cookiecutter.package_name }}.platform.drift import psi
from {{ cookiecutter.package_name }}.problem.sample import SHARES, generate
from {{ cookiecutter.package_name }}.problem.source import CLASSES

START, END = date(2026, 3, 1), date(2026, 3, 31)


@pytest.fixture(scope="module")
def calm() -> pd.DataFrame:
    return generate(START, END, 500, seed=1)


def test_faults_are_as_frequent_as_they_should_be(calm: pd.DataFrame) -> None:
    # 15000 rows: the standard deviation of a share is at most 0.004
    assert calm["fault"].value_counts(normalize=True)[CLASSES].to_numpy() == pytest.approx(np.array(SHARES), abs=0.02)


def test_inspections_come_a_week_later(calm: pd.DataFrame) -> None:
    assert (calm["inspection_time"] - calm["alarm_time"] == timedelta(days=7)).all()


def test_drift_slows_the_pumps(calm: pd.DataFrame) -> None:
    edges = np.quantile(calm["rotation"], np.linspace(0.1, 0.9, 9))

    def shares(rows: pd.DataFrame) -> np.ndarray:
        return np.bincount(np.searchsorted(edges, rows["rotation"]), minlength=10) / len(rows)

    assert psi(shares(calm), shares(generate(START, END, 500, seed=1, drift=True))) > 0.25
