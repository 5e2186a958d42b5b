import math

import pandas as pd
import pytest
from pyspark.sql import SparkSession

from {{ cookiecutter.package_name }}.problem.features import FEATURES, NUMERIC, compute_features


def parcels(*rows: tuple[str, str, float]) -> pd.DataFrame:
    """Return parcels of (sender, time, weight), numbered from p0 on."""
    frame = pd.DataFrame(rows, columns=["sender_id", "handed_in_at", "weight"])
    return frame.assign(
        parcel_id=[f"p{number}" for number in range(len(rows))],
        handed_in_at=pd.to_datetime(frame["handed_in_at"]),
        distance=100.0,
        shipping="express",
        carrier="red",
        destination="city",
    )


@pytest.fixture(scope="module")
def computed(spark: SparkSession) -> pd.DataFrame:
    rows = parcels(
        ("a", "2026-03-02 10:00:00", 1.0),  # Monday
        ("a", "2026-03-03 09:59:59", 2.0),  # just within 24 hours of the row before
        ("a", "2026-03-03 10:00:00", 4.0),  # exactly 24 hours after the first row
        ("a", "2026-03-15 23:59:59", 5.0),  # Sunday, more than 7 days after every other row
        ("b", "2026-03-03 09:00:00", 9.0),
    )
    return compute_features(spark.createDataFrame(rows)).toPandas().set_index("parcel_id").sort_index()


def test_weight_is_compared_with_the_sender_mean_of_the_7_days_before(computed: pd.DataFrame) -> None:
    ratio = computed["weight_to_sender_mean"]
    assert ratio["p1"] == pytest.approx(2 / 1)
    assert ratio["p2"] == pytest.approx(4 / ((1 + 2) / 2))


def test_a_sender_without_history_is_compared_with_itself(computed: pd.DataFrame) -> None:
    assert computed.loc[["p0", "p3", "p4"], "weight_to_sender_mean"].tolist() == [1, 1, 1]


def test_parcels_of_the_sender_in_the_24_hours_before_are_counted(computed: pd.DataFrame) -> None:
    assert computed["sender_parcels_1d"].tolist() == [0, 1, 2, 0, 0]


def test_hour_and_day_are_in_utc(computed: pd.DataFrame) -> None:
    assert computed["hour_of_day"].tolist() == [10, 9, 10, 23, 9]
    assert computed["day_of_week"].tolist() == [2, 3, 3, 1, 3]


def test_a_history_of_empty_envelopes_gives_a_finite_ratio(spark: SparkSession) -> None:
    rows = parcels(("a", "2026-03-02 10:00:00", 0.0), ("a", "2026-03-02 11:00:00", 5.0))
    computed = compute_features(spark.createDataFrame(rows)).toPandas()
    assert computed["weight_to_sender_mean"].map(math.isfinite).all()


def test_every_feature_has_its_type(computed: pd.DataFrame) -> None:
    assert set(FEATURES) <= set(computed.columns)
    assert (computed[NUMERIC].dtypes == "float64").all()
    assert not computed[FEATURES].isna().any(axis=None)
