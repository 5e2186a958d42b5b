import numpy as np
import pandas as pd
import pytest
from pyspark.sql import SparkSession

from fraud_detection.platform import drift
from fraud_detection.problem import features
from fraud_detection.problem.model import PREDICTION


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    """Rows of features and predictions, with a null in each feature."""
    rng = np.random.default_rng(1)
    frame = pd.DataFrame({name: rng.lognormal(size=300) for name in features.NUMERIC})
    for name in features.CATEGORICAL:
        frame[name] = rng.choice(["x", "y", "z"], 300, p=[0.6, 0.3, 0.1])
    last = features.NUMERIC[-1]
    frame[last] = (frame[last] > 1).astype(float)  # with two values, most deciles are the same
    frame.loc[7, features.FEATURES] = None
    for name, kind in PREDICTION.items():
        frame[name] = rng.choice(["x", "y"], 300) if kind == "string" else rng.random(300)
    return frame


def test_psi_is_the_hand_computed_value() -> None:
    # (0.4 - 0.5) * ln(0.4 / 0.5) + (0.6 - 0.5) * ln(0.6 / 0.5) = 0.1 * ln(1.5)
    assert drift.psi(np.array([0.5, 0.5]), np.array([0.4, 0.6])) == pytest.approx(0.0405465, abs=1e-7)


def test_psi_of_equal_shares_is_zero() -> None:
    assert drift.psi(np.array([0.2, 0.8, 0.0]), np.array([0.2, 0.8, 0.0])) == 0


def test_psi_of_a_bin_that_was_empty_is_large_and_finite() -> None:
    # (0.5 - 1) * ln(0.5 / 1) + (0.5 - 0.0001) * ln(0.5 / 0.0001)
    assert drift.psi(np.array([1.0, 0.0]), np.array([0.5, 0.5])) == pytest.approx(4.6043, abs=1e-4)


def test_spark_measures_the_shares_that_pandas_described(spark: SparkSession, rows: pd.DataFrame) -> None:
    baseline = drift.describe(rows, rows[list(PREDICTION)])

    number, shares = drift.measure(spark.createDataFrame(rows), baseline)

    assert number == 300
    assert set(shares) == {*features.FEATURES, *PREDICTION}
    for name, profile in baseline.items():
        np.testing.assert_allclose(shares[name], profile["shares"], err_msg=name)
        assert sum(profile["shares"]) == pytest.approx(1), name


def test_a_null_falls_in_the_last_bin(spark: SparkSession, rows: pd.DataFrame) -> None:
    baseline = drift.describe(rows, rows[list(PREDICTION)])
    _, shares = drift.measure(spark.createDataFrame(rows), baseline)
    for name in features.FEATURES:
        assert shares[name][-1] == pytest.approx(1 / 300), name


def test_a_value_never_seen_falls_in_the_last_bin(spark: SparkSession, rows: pd.DataFrame) -> None:
    baseline = drift.describe(rows, rows[list(PREDICTION)])
    new = rows.assign(**dict.fromkeys(features.CATEGORICAL, "new"))
    _, shares = drift.measure(spark.createDataFrame(new), baseline)
    for name in features.CATEGORICAL:
        assert shares[name].tolist() == [0, 0, 0, 1]


def test_no_rows_have_no_shares(spark: SparkSession, rows: pd.DataFrame) -> None:
    baseline = drift.describe(rows, rows[list(PREDICTION)])
    number, shares = drift.measure(spark.createDataFrame(rows).where("false"), baseline)
    assert number == 0
    assert all(not share.any() for share in shares.values())
