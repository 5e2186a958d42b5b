from datetime import date, timedelta

import numpy as np
import pandas as pd
import pytest

from {{ cookiecutter.package_name }}.platform.drift import psi
from {{ cookiecutter.package_name }}.problem.sample import generate

START, END = date(2026, 3, 1), date(2026, 3, 31)


@pytest.fixture(scope="module")
def calm() -> pd.DataFrame:
    return generate(START, END, 500, seed=1)


def test_deliveries_are_confirmed_a_week_later(calm: pd.DataFrame) -> None:
    assert (calm["confirmed_at"] - calm["handed_in_at"] == timedelta(days=7)).all()


def test_every_parcel_arrives_before_its_delivery_is_confirmed(calm: pd.DataFrame) -> None:
    assert calm["delivery_hours"].between(1, 7 * 24).all()


def test_express_and_short_ways_are_faster(calm: pd.DataFrame) -> None:
    hours = calm.groupby("shipping")["delivery_hours"].mean()
    assert hours["express"] < 0.7 * hours["standard"]
    assert calm["delivery_hours"].corr(calm["distance"]) > 0.3


def test_drift_makes_parcels_heavier(calm: pd.DataFrame) -> None:
    edges = np.quantile(calm["weight"], np.linspace(0.1, 0.9, 9))

    def shares(rows: pd.DataFrame) -> np.ndarray:
        return np.bincount(np.searchsorted(edges, rows["weight"]), minlength=10) / len(rows)

    assert psi(shares(calm), shares(generate(START, END, 500, seed=1, drift=True))) > 0.25
