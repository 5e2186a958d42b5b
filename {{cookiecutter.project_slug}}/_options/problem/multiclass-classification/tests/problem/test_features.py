import math

import pandas as pd
import pytest
from pyspark.sql import SparkSession

from {{ cookiecutter.package_name }}.problem.features import FEATURES, NUMERIC, compute_features


def alarms(*rows: tuple[str, str, float]) -> pd.DataFrame:
    """Return alarms of (pump, time, vibration), numbered from a0 on."""
    frame = pd.DataFrame(rows, columns=["pump_id", "alarm_time", "vibration"])
    return frame.assign(
        alarm_id=[f"a{number}" for number in range(len(rows))],
        alarm_time=pd.to_datetime(frame["alarm_time"]),
        pump_model="heavy",
        site="mine",
        rotation=1450.0,
        temperature=50.0,
        pressure=5.0,
        power=9.0,
    )


@pytest.fixture(scope="module")
def computed(spark: SparkSession) -> pd.DataFrame:
    rows = alarms(
        ("a", "2026-03-02 10:00:00", 1.0),
        ("a", "2026-03-03 09:59:59", 2.0),  # just within 24 hours of the row before
        ("a", "2026-03-03 10:00:00", 4.0),  # exactly 24 hours after the first row
        ("a", "2026-03-15 23:59:59", 5.0),  # more than 7 days after every other row
        ("b", "2026-03-03 09:00:00", 9.0),
    )
    return compute_features(spark.createDataFrame(rows)).toPandas().set_index("alarm_id").sort_index()


def test_vibration_is_compared_with_the_pump_mean_of_the_7_days_before(computed: pd.DataFrame) -> None:
    ratio = computed["vibration_to_pump_mean"]
    assert ratio["a1"] == pytest.approx(2 / 1)
    assert ratio["a2"] == pytest.approx(4 / ((1 + 2) / 2))


def test_a_pump_without_history_is_compared_with_itself(computed: pd.DataFrame) -> None:
    assert computed.loc[["a0", "a3", "a4"], "vibration_to_pump_mean"].tolist() == [1, 1, 1]


def test_alarms_of_the_pump_in_the_24_hours_before_are_counted(computed: pd.DataFrame) -> None:
    assert computed["pump_alarms_1d"].tolist() == [0, 1, 2, 0, 0]


def test_a_pump_that_stood_still_gives_a_finite_ratio(spark: SparkSession) -> None:
    rows = alarms(("a", "2026-03-02 10:00:00", 0.0), ("a", "2026-03-02 11:00:00", 5.0))
    computed = compute_features(spark.createDataFrame(rows)).toPandas()
    assert computed["vibration_to_pump_mean"].map(math.isfinite).all()


def test_every_feature_has_its_type(computed: pd.DataFrame) -> None:
    assert set(FEATURES) <= set(computed.columns)
    assert (computed[NUMERIC].dtypes == "float64").all()
    assert not computed[FEATURES].isna().any(axis=None)
