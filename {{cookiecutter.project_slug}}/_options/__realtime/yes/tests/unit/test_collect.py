"""Inference tables as they come, with all that callers may have sent, become rows of `predictions`."""

import json
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from mlflow.tracking import MlflowClient
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from {{ cookiecutter.package_name }}.platform import registry, tables
from {{ cookiecutter.package_name }}.platform.data import ROW
from {{ cookiecutter.package_name }}.problem.features import CATEGORICAL, NUMERIC
from {{ cookiecutter.package_name }}.problem.source import KEY, TIME
from {{ cookiecutter.package_name }}.tasks import collect

from local import serving as laptop
from local.engine import STATE

RUN_DATE = date(2026, 3, 2)
DAY = datetime(2026, 3, 1, 12, tzinfo=UTC)
numbers = count(1)


@pytest.fixture(autouse=True)
def problem(monkeypatch: pytest.MonkeyPatch) -> None:
    """Predictions are the second number that the model returns."""
    monkeypatch.setattr(collect, "PREDICTION", {"score": "double"})
    monkeypatch.setattr(collect, "prediction", lambda raw: pd.DataFrame({"score": raw[:, 1]}))


@pytest.fixture
def model(mlflow_client: MlflowClient) -> str:
    """A model whose version 1 had the traffic first, then version 2, and then version 1 again."""
    name = mlflow_client.create_registered_model(f"catalog.schema.collect_{next(numbers)}").name
    for hours in ((0, 4), (2,)):
        version = mlflow_client.create_model_version(name, source="file:///none")
        times = [(DAY + timedelta(hours=hour)).isoformat(timespec="milliseconds") for hour in hours]
        registry.tag(mlflow_client, version, serves_since=" ".join(times))
    return name


# What the platform computed for every row of these tests.
KNOWN: dict[str, Any] = dict.fromkeys(NUMERIC, 1.5) | dict.fromkeys(CATEGORICAL, "DE")
COLUMNS = [*(f"{name} double" for name in NUMERIC), *(f"{name} string" for name in CATEGORICAL)]


def add_features(
    spark: SparkSession,
    schema: str,
    *identifiers: str,
    day: date = date(2026, 3, 1),
    known: dict[str, Any] = KNOWN,
) -> None:
    moment = datetime(day.year, day.month, day.day, 11)
    rows = [(name, *[moment] * bool(TIME), day, *known.values()) for name in identifiers]
    columns = [f"{KEY} string", *[f"{TIME} timestamp"] * bool(TIME), "event_date date", *COLUMNS]
    frame = spark.createDataFrame(rows, ", ".join(columns))
    tables.replace(frame, f"{schema}.features", F.col("event_date") == F.lit(day))


def answered(*scores: float) -> dict[str, Any]:
    return {"predictions": [[1 - score, score] for score in scores]}


def asked(*identifiers: Any, **changes: Any) -> dict[str, Any]:
    return {"dataframe_records": [{KEY: name} | KNOWN | changes for name in identifiers]}


def asked_as_table(*identifiers: Any, **changes: Any) -> dict[str, Any]:
    values = (KNOWN | changes).values()
    rows = [[*values, name] for name in identifiers]
    return {"dataframe_split": {"columns": [*KNOWN, KEY], "data": rows}}


def together(*requests: dict[str, Any]) -> dict[str, Any]:
    """Return one request for the records of several."""
    if "dataframe_records" in requests[0]:
        return {"dataframe_records": [record for request in requests for record in request["dataframe_records"]]}
    tables = [request["dataframe_split"] for request in requests]
    return {"dataframe_split": tables[0] | {"data": [row for table in tables for row in table["data"]]}}


def add_requests(
    spark: SparkSession, home: Path, schema: str, *requests: Any, table: str = "requests_1_payload"
) -> None:
    """Add (request, response) or (request, response, hour, status) to an inference table, as the platform does."""
    catalog, name = schema.split(".")
    folder = home / STATE / "lakehouse" / catalog / name / table
    for request, response, *rest in requests:
        hour, status = [*rest, 1, 200][:2] if len(rest) == 2 else [*(rest or [1]), 200]
        moment = DAY + timedelta(hours=hour)
        laptop.append(
            folder,
            {
                "databricks_request_id": str(next(numbers)),
                "request_date": moment.date(),
                "request_time": moment,
                "status_code": status,
                "request": request if isinstance(request, str | None) else json.dumps(request),
                "response": response if isinstance(response, str | None) else json.dumps(response),
            },
        )
    location = f"USING delta LOCATION '{folder.as_posix()}'"
    spark.sql(f"CREATE TABLE IF NOT EXISTS {tables.quote(f'{schema}.{table}')} {location}")


def run(schema: str, model: str, days: int = 1) -> None:
    collect.collect(schema, model, RUN_DATE, days, git_commit="abc")


def rows(spark: SparkSession, schema: str) -> pd.DataFrame:
    return tables.read(spark, f"{schema}.predictions").toPandas().set_index(KEY).sort_index()


def test_nothing_is_collected_before_anybody_has_queried(
    spark: SparkSession, home: Path, schema: str, model: str, caplog: pytest.LogCaptureFixture
) -> None:
    add_features(spark, schema, "a")
    run(schema, model)
    assert "0 rows collected" in caplog.text
    assert rows(spark, schema).empty
    add_requests(spark, home, schema, (asked("a"), answered(0.5)))
    run(schema, model)
    assert list(rows(spark, schema).index) == ["a"]


def test_each_record_becomes_a_row(spark: SparkSession, home: Path, schema: str, model: str) -> None:
    add_features(spark, schema, "a", "b", "c", "7")
    as_table = asked_as_table("c", 7)
    add_requests(spark, home, schema, (asked("a", "b"), answered(0.25, 0.75)), (as_table, answered(0.5, 1.0)))
    run(schema, model)
    found = rows(spark, schema)
    assert found["score"].to_dict() == {"7": 1.0, "a": 0.25, "b": 0.75, "c": 0.5}
    assert set(found["event_date"]) == {date(2026, 3, 1)}
    assert set(found["scored_by"]) == {"endpoint"}
    assert set(found["model_name"]) == {model}
    assert set(found["git_commit"]) == {"abc"}


def test_failed_and_malformed_requests_are_left_out_and_counted(
    spark: SparkSession, home: Path, schema: str, model: str, caplog: pytest.LogCaptureFixture
) -> None:
    add_features(spark, schema, *"abcdefgh")
    caplog.set_level("INFO")
    add_requests(
        spark,
        home,
        schema,
        (asked("a"), answered(0.5)),
        (asked("b"), {"error_code": "BAD_REQUEST"}, 1, 400),
        ("{broken", "neither"),
        (None, None),  # too large to be kept
        (asked("c", "d"), answered(0.5)),  # an answer too few
        ({"inputs": [[1.5]]}, answered(0.5)),  # names no row
        (asked("e"), {"predictions": ["high"]}),
        ({"dataframe_split": {"columns": NUMERIC[:1], "data": [[1.5]]}}, answered(0.5)),  # the smoke test of a release
        (asked(None), answered(0.5)),
    )
    run(schema, model)
    assert list(rows(spark, schema).index) == ["a"]
    assert "9 requests since 2026-03-01: 1 failed and 5 malformed ones are left out, 1 rows" in caplog.text


def test_each_row_names_the_version_that_had_the_traffic(
    spark: SparkSession, home: Path, schema: str, model: str
) -> None:
    add_features(spark, schema, *"abcd")
    moments = {"a": -1, "b": 1, "c": 3, "d": 5}
    add_requests(spark, home, schema, *((asked(name), answered(0.5), hour) for name, hour in moments.items()))
    run(schema, model)
    assert rows(spark, schema)["model_version"].to_dict() == {"a": 1, "b": 1, "c": 2, "d": 1}


def test_the_first_answer_counts(spark: SparkSession, home: Path, schema: str, model: str) -> None:
    """Asking again for what was answered under an earlier version changes no prediction."""
    add_features(spark, schema, "a")
    add_requests(spark, home, schema, (asked("a"), answered(0.25), 3), (asked("a", "a"), answered(0.75, 0.75), 1))
    # A later endpoint has a table of its own.
    add_requests(spark, home, schema, (asked("a"), answered(0.5), 2), table="requests_2_payload")
    run(schema, model)
    assert rows(spark, schema)["score"].to_dict() == {"a": 0.75}


def test_only_rows_of_these_days_are_collected(spark: SparkSession, home: Path, schema: str, model: str) -> None:
    add_features(spark, schema, "a")
    add_features(spark, schema, "before", day=date(2026, 2, 28))
    add_requests(spark, home, schema, (asked("a", "before", "unknown"), answered(0.1, 0.2, 0.3)))
    run(schema, model)
    assert list(rows(spark, schema).index) == ["a"]
    run(schema, model, days=2)
    assert list(rows(spark, schema).index) == ["a", "before"]


def test_collecting_a_day_again_changes_nothing(spark: SparkSession, home: Path, schema: str, model: str) -> None:
    add_features(spark, schema, "a", "b")
    add_requests(spark, home, schema, (asked("a", "b"), answered(0.25, 0.75)))
    run(schema, model)
    before = rows(spark, schema)
    run(schema, model)
    pd.testing.assert_frame_equal(rows(spark, schema), before)


def test_the_endpoint_takes_the_place_of_the_batch_job(
    spark: SparkSession, home: Path, schema: str, model: str
) -> None:
    """A row counts once, whoever has scored it."""
    add_features(spark, schema, "a", "b")
    batch = tables.read(spark, f"{schema}.features").selectExpr(
        *(*ROW, "event_date", "0.1D AS score", f"'{model}' AS model_name"),
        *("2 AS model_version", "'abc' AS git_commit", "current_timestamp() AS scored_at", "'batch' AS scored_by"),
    )
    add_requests(spark, home, schema, (asked("a"), answered(0.9)))
    for before in (batch.drop("scored_by"), batch):
        tables.replace(before, f"{schema}.predictions", tables.days("event_date", date(2026, 3, 1), RUN_DATE))
        for _ in range(2):
            run(schema, model)
            found = rows(spark, schema)
            assert found["score"].to_dict() == {"a": 0.9, "b": 0.1}
            assert found["scored_by"].to_dict() == {"a": "endpoint", "b": "batch"}


# What a caller may try


CHANGES: list[dict[str, Any]] = [
    *({name: 1.6} for name in NUMERIC),
    *({name: None} for name in KNOWN),
    *({name: "FR"} for name in CATEGORICAL),
]


@pytest.mark.parametrize("ask", [asked, asked_as_table])
def test_a_caller_cannot_score_the_row_of_somebody_else(
    spark: SparkSession,
    home: Path,
    schema: str,
    model: str,
    ask: Callable[..., dict[str, Any]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """With features of their choice they get a score of their choice, before or after the row was scored."""
    add_features(spark, schema, "a", "b")
    forged = together(*(ask("a", "b", **change) for change in CHANGES))
    answers = answered(*([0.0] * 2 * len(CHANGES)))
    add_requests(spark, home, schema, (forged, answers, 0), (ask("a"), answered(0.9), 1), (forged, answers, 3))
    run(schema, model)
    assert rows(spark, schema)["score"].to_dict() == {"a": 0.9}
    assert f"{4 * len(CHANGES)} responses are left out: their requests have other features" in caplog.text


def test_a_forged_request_leaves_the_score_of_the_batch_job(
    spark: SparkSession, home: Path, schema: str, model: str
) -> None:
    add_features(spark, schema, "a")
    add_requests(spark, home, schema, (asked("a"), answered(0.9), 1))
    run(schema, model)
    tables.replace(
        tables.read(spark, f"{schema}.predictions").withColumn("scored_by", F.lit("batch")),
        *(f"{schema}.predictions", F.col("event_date").isNotNull()),
    )
    add_features(spark, schema, "a", known=KNOWN | dict.fromkeys(NUMERIC, 2.5))
    run(schema, model)
    assert rows(spark, schema)["scored_by"].to_dict() == {"a": "batch"}


def test_a_request_means_what_the_endpoint_has_read(
    spark: SparkSession, home: Path, schema: str, model: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Of two values under one name, or two forms in one request, the endpoint may take the one and we the other."""
    caplog.set_level("INFO")
    add_features(spark, schema, "a")
    name, value = next(iter(KNOWN.items()))
    record = json.dumps(asked("a"))
    twice = record.replace(f'"{name}": {value}', f'"{name}": {value}, "{name}": 99.0')
    reverse = record.replace(f'"{name}": {value}', f'"{name}": 99.0, "{name}": {value}')
    assert record not in (twice, reverse)
    columns = asked_as_table("a")
    columns["dataframe_split"]["columns"].append(name)
    columns["dataframe_split"]["data"][0].append(99.0)
    forms = asked("a") | asked_as_table("a", **{name: 99.0})
    attacks = ((request, answered(0.0)) for request in (twice, reverse, columns, forms))
    add_requests(spark, home, schema, *attacks)
    run(schema, model)
    assert rows(spark, schema).empty
    assert "4 requests since 2026-03-01: 0 failed and 4 malformed ones" in caplog.text


def test_numbers_may_have_few_digits_and_unknown_is_unknown(
    spark: SparkSession, home: Path, schema: str, model: str
) -> None:
    (first, *_), category = NUMERIC, CATEGORICAL[0]
    add_features(spark, schema, "a", known=KNOWN | {first: 1 / 3, category: None})
    add_requests(spark, home, schema, (asked("a", **{first: 0.3333333, category: None}), answered(0.5)))
    run(schema, model)
    assert list(rows(spark, schema).index) == ["a"]


def test_a_request_can_come_before_its_row(spark: SparkSession, home: Path, schema: str, model: str) -> None:
    add_features(spark, schema, "other")
    add_requests(spark, home, schema, (asked("a"), answered(0.5)))
    run(schema, model)
    assert rows(spark, schema).empty
    add_features(spark, schema, "other", "a")
    run(schema, model)
    assert list(rows(spark, schema).index) == ["a"]
