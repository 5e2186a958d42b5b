import math
from collections.abc import Callable
from datetime import date, timedelta

import pandas as pd
import pytest
from pyspark.sql import SparkSession

from {{ cookiecutter.package_name }}.platform import tables
from {{ cookiecutter.package_name }}.problem import features, sample
from {{ cookiecutter.package_name }}.tasks.features import features as write_features


def transactions(*rows: tuple[str, str, float]) -> pd.DataFrame:
    """Return transactions of (card, time, amount), numbered from t0 on."""
    frame = pd.DataFrame(rows, columns=["card_id", "event_time", "amount"])
    return frame.assign(
        transaction_id=[f"t{number}" for number in range(len(rows))],
        event_time=pd.to_datetime(frame["event_time"]),
        merchant_category="grocery",
        country="DE",
        channel="chip",
    )


@pytest.fixture(scope="module")
def computed(spark: SparkSession) -> pd.DataFrame:
    rows = transactions(
        ("a", "2026-03-02 10:00:00", 10.0),  # Monday
        ("a", "2026-03-03 09:59:59", 20.0),  # just within 24 hours of the row before
        ("a", "2026-03-03 10:00:00", 40.0),  # exactly 24 hours after the first row
        ("a", "2026-03-07 23:30:00", 70.0),  # Saturday
        ("a", "2026-03-15 23:59:59", 50.0),  # Sunday, more than 7 days after every other row
        ("b", "2026-03-03 09:00:00", 1000.0),
    )
    return features.compute_features(spark.createDataFrame(rows)).toPandas().set_index("transaction_id").sort_index()


def test_amount_is_compared_with_the_card_mean_of_the_7_days_before(computed: pd.DataFrame) -> None:
    ratio = computed["amount_to_card_mean"]
    assert ratio["t1"] == pytest.approx(20 / 10)
    assert ratio["t2"] == pytest.approx(40 / ((10 + 20) / 2))
    assert ratio["t3"] == pytest.approx(70 / ((10 + 20 + 40) / 3))


def test_a_card_without_history_is_compared_with_itself(computed: pd.DataFrame) -> None:
    assert computed.loc[["t0", "t4", "t5"], "amount_to_card_mean"].tolist() == [1, 1, 1]


def test_transactions_of_the_card_in_the_24_hours_before_are_counted(computed: pd.DataFrame) -> None:
    assert computed["card_transactions_1d"].tolist() == [0, 1, 2, 0, 0, 0]


def test_hour_and_weekend_are_in_utc(computed: pd.DataFrame) -> None:
    assert computed["hour_of_day"].tolist() == [10, 9, 10, 23, 23, 9]
    assert computed["is_weekend"].tolist() == [0, 0, 0, 1, 1, 0]


def test_a_history_of_free_transactions_gives_a_finite_ratio(spark: SparkSession) -> None:
    rows = transactions(("a", "2026-03-02 10:00:00", 0.0), ("a", "2026-03-02 11:00:00", 5.0))
    computed = features.compute_features(spark.createDataFrame(rows)).toPandas()
    assert computed["amount_to_card_mean"].map(math.isfinite).all()


def test_every_feature_has_its_type(computed: pd.DataFrame) -> None:
    assert set(features.FEATURES) <= set(computed.columns)
    assert (computed[features.NUMERIC].dtypes == "float64").all()
    assert not computed[features.FEATURES].isna().any(axis=None)


def test_a_day_has_the_same_features_alone_and_within_30_days(
    spark: SparkSession, new_schema: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scoring computes one day, training many: a model must see the same numbers in both."""
    monkeypatch.setattr(sample, "CARDS", 20)  # so that every card has a history
    run_date, scoring, training = date(2026, 3, 2), new_schema(), new_schema()
    source_table = f"{scoring}.source"
    start, yesterday = run_date - timedelta(days=45), run_date - timedelta(days=1)
    rows = spark.createDataFrame(sample.generate(start, run_date, 20, seed=1))
    tables.replace(rows, source_table, tables.days("event_time", start, run_date))

    write_features(source_table, scoring, run_date, days=1)
    write_features(source_table, training, run_date, days=30)

    one, thirty = (tables.read(spark, f"{name}.features").toPandas() for name in (scoring, training))
    assert len(one) == 20
    assert len(thirty) == 30 * 20
    same_day = thirty[thirty["event_date"] == yesterday]
    pd.testing.assert_frame_equal(
        one.set_index("transaction_id").sort_index(), same_day.set_index("transaction_id").sort_index()
    )
