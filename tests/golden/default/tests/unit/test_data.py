from datetime import UTC, date, datetime, timedelta
from typing import Any

import pandas as pd
import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from fraud_detection.platform import data, tables
from fraud_detection.platform.config import Training
from fraud_detection.problem import sample, source
from fraud_detection.problem.features import FEATURES
from fraud_detection.tasks import check_data, features

DAY = date(2026, 3, 1)
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def rows(number: int, **changes: Any) -> pd.DataFrame:
    """Return made-up rows of one day, with the same values in these columns, or a list of them."""
    return sample.generate(DAY, DAY + timedelta(days=1), number, seed=1).assign(**changes)[list(source.COLUMNS)]


def names(column: str, *numbers: int) -> list[Any]:
    """Return values of a key or an entity, which are text or whole numbers."""
    return [f"name-{number}" if source.COLUMNS[column] == "string" else number for number in numbers]


def frame(spark: SparkSession, rows: pd.DataFrame) -> DataFrame:
    # As tuples of Python's own types: of a pandas frame with unknown times, Spark takes no column of objects.
    columns = [[None if pd.isna(value) else python(value) for value in rows[name]] for name in rows]
    return spark.createDataFrame(list(zip(*columns, strict=True)), data.SCHEMA)


def python(value: Any) -> Any:
    """Return a value as Python's own type."""
    if isinstance(value, pd.Timestamp):
        return value.to_pydatetime()
    return value.item() if hasattr(value, "item") else value


def write(spark: SparkSession, table: str, rows: pd.DataFrame) -> None:
    frame(spark, rows).writeTo(tables.quote(table)).using("delta").create()


def test_good_rows_break_no_rule(spark: SparkSession) -> None:
    unknown = {role: None for role in (source.LABEL, source.LABEL_TIME) if role}
    for good in (rows(20), rows(20, **unknown)):
        assert data.broken_rules(frame(spark, good)) == []


def test_the_roles_bring_rules_along(spark: SparkSession) -> None:
    broken = rows(4)
    broken.loc[0, source.KEY] = None
    broken.loc[1, source.KEY] = broken.loc[2, source.KEY]
    expected = {f"{source.KEY} is never null: broken by 1 of 4 rows", f"{source.KEY} is unique: broken by 2 rows"}
    if source.TIME and source.LABEL_TIME:
        broken.loc[3, source.LABEL_TIME] = broken[source.TIME].min() - timedelta(seconds=1)
        expected.add(f"{source.LABEL_TIME} is not before {source.TIME}: broken by 1 of 4 rows")
    assert expected <= set(data.broken_rules(frame(spark, broken)))


def test_a_missing_column_and_a_wrong_type_are_named(spark: SparkSession) -> None:
    good, kind = frame(spark, rows(1)), source.COLUMNS[source.KEY]
    assert data.broken_rules(good.drop(source.KEY)) == [f"column {source.KEY}: is missing, must be {kind}"]
    wrong = good.withColumn(source.KEY, good[source.KEY].cast("binary"))
    assert data.broken_rules(wrong) == [f"column {source.KEY}: is binary, must be {kind}"]


def test_an_empty_period_is_a_problem(spark: SparkSession) -> None:
    assert data.broken_rules(frame(spark, rows(1)).where("false")) == ["the table has no rows in this period"]


def test_check_data_looks_at_its_period_only(spark: SparkSession, schema: str) -> None:
    table = f"{schema}.source"
    if source.TIME is None:
        pytest.skip("a snapshot has no periods")
    keys = names(source.KEY, 1, 1, 2)
    times = [NOON - timedelta(days=60), NOON - timedelta(days=60), NOON]
    known = {source.LABEL_TIME: NOON} if source.LABEL_TIME else {}
    write(spark, table, rows(3, **{source.KEY: keys, source.TIME: times}, **known))

    check_data.check_data(table, DAY + timedelta(days=1), days=1)
    with pytest.raises(data.DataCheckError, match=f"{table} is not fit for use:\n  - {source.KEY} is unique"):
        check_data.check_data(table, DAY + timedelta(days=1), days=90)


def test_training_does_not_see_labels_that_arrive_on_or_after_the_run_date(spark: SparkSession, schema: str) -> None:
    if source.LABEL_TIME is None:
        pytest.skip("labels count at once")
    run_date, table = date(2026, 3, 10), f"{schema}.source"
    midnight = datetime(2026, 3, 10, tzinfo=UTC)
    times = [midnight - timedelta(seconds=1), midnight, midnight + timedelta(days=3), None]
    before, *others = names(source.KEY, 1, 2, 3, 4)
    arriving = rows(4, **{source.KEY: [before, *others], source.LABEL_TIME: times})
    arriving[source.LABEL] = arriving[source.LABEL].astype(object)
    arriving.loc[3, source.LABEL] = None
    write(spark, table, arriving)
    features.features(table, schema, run_date, days=30)

    known = data.labelled(spark, table, f"{schema}.features", date(2026, 2, 8), run_date).toPandas()

    assert known[source.KEY].tolist() == [before]
    assert {source.LABEL, *FEATURES} <= set(known.columns)


def test_a_fraction_keeps_whole_entities(spark: SparkSession, schema: str) -> None:
    run_date, table = date(2026, 4, 1), f"{schema}.source"
    halves = [number // 2 for number in range(400)]
    entities = {source.ENTITY: names(source.ENTITY, *halves)} if source.ENTITY else {}
    write(spark, table, rows(400, **entities))
    features.features(table, schema, run_date, days=60)

    kept = data.labelled(spark, table, f"{schema}.features", date(2026, 2, 1), run_date, fraction=0.3).toPandas()

    sizes = kept.groupby(data.UNIT).size()
    assert (sizes == (2 if source.ENTITY else 1)).all()
    assert 60 < len(kept) < 180  # 120 of 400 rows, and more than four standard deviations


def holdout(monkeypatch: pytest.MonkeyPatch, **settings: Any) -> None:
    """Set what is held out."""
    training = Training.model_construct(**{"holdout_days": None, "holdout_fraction": None} | settings)
    config = data.load_config().model_copy(update={"training": training})
    monkeypatch.setattr(data, "load_config", lambda: config)


def test_split_keeps_the_newest_days_from_training(spark: SparkSession, monkeypatch: pytest.MonkeyPatch) -> None:
    holdout(monkeypatch, holdout_days=3)
    days = [DAY + timedelta(days=number) for number in range(10)]

    training, newest = data.split(spark.createDataFrame([(day,) for day in days[::-1] * 2], "event_date date"))

    assert sorted(row[0] for row in newest.frame.distinct().collect()) == days[7:]
    assert sorted(row[0] for row in training.frame.distinct().collect()) == days[:7]
    assert (training.rows, newest.rows) == (14, 6)


def test_split_of_a_snapshot_keeps_the_same_entities_from_training(
    spark: SparkSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    holdout(monkeypatch, holdout_fraction=0.2)
    snapshot = spark.createDataFrame([(f"e{number // 2}",) for number in range(2000)], f"`{data.UNIT}` string")

    training, held_out = data.split(snapshot)
    _, later = data.split(snapshot.orderBy(data.UNIT))

    kept = {row[0] for row in held_out.frame.collect()}
    assert not {row[0] for row in training.frame.collect()} & kept
    assert {row[0] for row in later.frame.collect()} == kept
    assert (training.rows + held_out.rows, held_out.frame.count()) == (2000, held_out.rows)
    assert 300 < held_out.rows < 500


def test_split_refuses_an_empty_part(spark: SparkSession, monkeypatch: pytest.MonkeyPatch) -> None:
    holdout(monkeypatch, holdout_days=3)
    two = spark.createDataFrame([(date(2026, 3, 1),), (date(2026, 3, 3),)], "event_date date")
    with pytest.raises(ValueError, match="No labelled row in the training period"):
        data.split(two.limit(0))
    with pytest.raises(ValueError, match="All labelled rows fall in the holdout"):
        data.split(two)


def part(spark: SparkSession, rows: int) -> data.Part:
    """Return rows of which each entity has five, among them one with fifty."""
    entities = ["big"] * 50 + [f"e{number // 5}" for number in range(rows - 50)]
    # Without an entity, a row is its own unit: then its key counts.
    numbered = pd.DataFrame({data.UNIT: entities} | {source.KEY: [f"k{number:05d}" for number in range(rows)]})
    if source.TIME:
        numbered[source.TIME] = NOON + pd.to_timedelta(range(rows, 0, -1), unit="s")
    return data.Part(spark.createDataFrame(numbered), rows)


def test_one_machine_takes_what_it_holds_of_whole_entities(spark: SparkSession) -> None:
    if source.ENTITY is None:
        pytest.skip("rows are taken one by one")
    columns = [source.KEY, source.ENTITY]
    all_rows = part(spark, 1000).take(columns, 1000)
    taken, again = (part(spark, 1000).take(columns, 300) for _ in range(2))
    less = part(spark, 1000).take(columns, 200)

    assert len(all_rows) == 1000
    assert 200 < len(taken) <= 300 and 100 < len(less) <= 200
    pd.testing.assert_frame_equal(taken, again)
    assert {*taken.groupby(source.ENTITY).size().items()} <= {*all_rows.groupby(source.ENTITY).size().items()}
    assert set(less[source.KEY]) < set(taken[source.KEY])


def test_what_is_taken_comes_in_the_order_of_its_time(spark: SparkSession) -> None:
    keys = part(spark, 400).take([source.KEY], 200, by=source.KEY)[source.KEY].tolist()
    assert keys == sorted(keys, reverse=source.TIME is not None)


def test_a_limit_that_no_part_fits_into_is_refused(spark: SparkSession) -> None:
    with pytest.raises(ValueError, match=r"max_rows in problem/config\.yml is 999, too few of 1000 rows"):
        data.Part(part(spark, 1000).frame.withColumn("all", F.lit("alike")), 1000).take([source.KEY], 999, by="all")
