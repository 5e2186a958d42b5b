from datetime import date, timedelta

import numpy as np
import pandas as pd
import pytest

from {{ cookiecutter.package_name }}.platform import drift
from {{ cookiecutter.package_name }}.problem import sample

DAY = date(2026, 3, 1)


def month(drift: bool) -> pd.DataFrame:
    return sample.generate(DAY, DAY + timedelta(days=30), 500, seed=1, drift=drift)


@pytest.fixture(scope="module")
def calm() -> pd.DataFrame:
    return month(drift=False)


def day(number: int = 0, seed: int = 1) -> pd.DataFrame:
    return sample.generate(DAY + timedelta(days=number), DAY + timedelta(days=number + 1), 100, seed)


def test_the_same_arguments_give_the_same_day() -> None:
    pd.testing.assert_frame_equal(day(), day())
    assert not day()["amount"].equals(day(seed=2)["amount"])
    assert not day()["amount"].equals(day(number=1)["amount"])


def test_about_two_percent_is_fraud(calm: pd.DataFrame) -> None:
    # 15000 rows: the standard deviation of the share is 0.0011
    assert calm["is_fraud"].mean() == pytest.approx(0.02, abs=0.005)


def test_labels_arrive_14_days_late(calm: pd.DataFrame) -> None:
    assert (calm["label_time"] - calm["event_time"] == timedelta(days=14)).all()


def test_events_fall_on_their_day() -> None:
    assert set(day()["event_time"].dt.date) == {DAY}


def test_drift_moves_the_amounts(calm: pd.DataFrame) -> None:
    edges = np.quantile(calm["amount"], np.linspace(0.1, 0.9, 9))

    def shares(rows: pd.DataFrame) -> np.ndarray:
        return np.bincount(np.searchsorted(edges, rows["amount"]), minlength=10) / len(rows)

    assert drift.psi(shares(calm), shares(month(drift=True))) > 0.25
