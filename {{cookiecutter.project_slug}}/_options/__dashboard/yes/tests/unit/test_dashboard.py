"""The dashboard and the alerts: their queries run on tables as the jobs write them, and widgets find their columns."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import DataFrame, SparkSession

from {{ cookiecutter.package_name }}.platform import evaluations, tables
from {{ cookiecutter.package_name }}.tasks import monitor
from {{ cookiecutter.package_name }}.tasks.activate import RELEASE_LOG

from local.bundle import load_bundle, target_names

ROOT = Path(__file__).parents[2]
DASHBOARD = json.loads((ROOT / "resources" / "dashboard.lvdash.json").read_text(encoding="utf-8"))
DATASETS = {dataset["name"]: "".join(dataset["queryLines"]) for dataset in DASHBOARD["datasets"]}
WIDGETS = {
    place["widget"]["name"]: place["widget"]
    for page in DASHBOARD["pages"]
    for place in page["layout"]
    if "queries" in place["widget"]
}
BUNDLES = {target: load_bundle(ROOT, target) for target in target_names(ROOT)}
TODAY = datetime.now(UTC).date()
BEFORE = TODAY - timedelta(days=1)

Query = Callable[[str], DataFrame]


@pytest.fixture(scope="module")
def schema(spark: SparkSession, new_schema: Callable[..., str]) -> str:
    """The schema of a model whose second version is in service, whose third was refused, and that drifts."""
    name = new_schema()
    nan = float("nan")  # in tables that are older than their nulls
    numbers = [
        ("rows", "", 7000.0, 500.0, False, BEFORE, "prod", 1),
        ("psi", "amount", 0.1, 0.25, False, BEFORE, "prod", 1),
        ("rows", "", 400.0, 500.0, True, TODAY, "prod", 2),
        ("null_rate", "amount", 0.5, 0.02, True, TODAY, "prod", 2),
        ("psi", "amount", 0.2, 0.25, False, TODAY, "prod", 2),
        ("psi", "channel", 0.9, 0.25, True, TODAY, "prod", 2),
        ("quality", "", 0.125, 0.25, True, TODAY, "prod", 2),
        ("old_quality", "", nan, nan, False, TODAY, "prod", 2),
        ("other_quality", "", None, None, False, TODAY, "prod", 2),
    ]
    tables.create(spark.createDataFrame(numbers, monitor.COLUMNS), f"{name}.monitoring_metrics")
    scored = [("a", BEFORE, 1), ("b", BEFORE, 1), ("c", TODAY, 2), ("d", TODAY, None)]
    rows = spark.createDataFrame(scored, "id STRING, event_date DATE, model_version INT")
    tables.create(rows.selectExpr("*", "current_timestamp() AS scored_at"), f"{name}.predictions")
    gates = [
        (BEFORE, "prod", 2, 2, "quality", 0.5, "PASSED", ""),
        (BEFORE, "prod", 2, 1, "quality", 0.25, "PASSED", ""),
        (TODAY, "prod", 3, 3, "quality", 0.125, "FAILED", ""),
        (TODAY, "prod", 3, 2, "quality", 0.5, "FAILED", ""),
    ]
    tables.create(spark.createDataFrame(gates, evaluations.COLUMNS), f"{name}.evaluations")
    release = ("model", 2, 1, "prod", "prod", "2026-03-02T05:00:00+00:00", "0123456789abcdef")
    width = len(RELEASE_LOG.split(", "))
    log = spark.createDataFrame([release + ("",) * (width - len(release))], RELEASE_LOG)
    tables.create(log, f"{name}.release_log")
    return name


@pytest.fixture(scope="module")
def query(spark: SparkSession, schema: str) -> Query:
    """Run a query as the dashboard does, which is told where the tables are that its queries name."""
    catalog, name = schema.split(".")

    def ask(text: str) -> DataFrame:
        spark.catalog.setCurrentCatalog(catalog)
        spark.catalog.setCurrentDatabase(name)
        return spark.sql(text)

    return ask


def rows(frame: DataFrame) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in frame.collect()]


def alert(target: str, key: str, schema: str) -> tuple[dict[str, Any], str]:
    """Return an alert of a target, and its query on another schema."""
    bundle = BUNDLES[target]
    found = bundle["resources"]["alerts"][key]
    deployed = tables.quote(bundle["resources"]["schemas"]["schema"]["id"])
    return found, found["query_text"].replace(deployed, tables.quote(schema))


@pytest.mark.parametrize("name", WIDGETS)
def test_a_widget_shows_what_its_query_returns(name: str, query: Query) -> None:
    widget = WIDGETS[name]
    (asked,) = widget["queries"]
    fields = asked["query"]["fields"]
    chosen = ", ".join(f"{field['expression']} AS `{field['name']}`" for field in fields)
    result = query(f"SELECT {chosen} FROM ({DATASETS[asked['query']['datasetName']]})")
    assert result.count() > 0
    encodings = widget["spec"]["encodings"]
    shown = [one for encoding in encodings.values() for one in (encoding if isinstance(encoding, list) else [encoding])]
    assert {one["fieldName"] for one in shown} == set(result.columns)
    assert {one["queryName"] for one in shown if "queryName" in one} <= {asked["name"]}
    fit = {"quantitative": ("double", "bigint"), "temporal": ("date", "timestamp"), "categorical": ("string",)}
    for one in shown:
        if "scale" in one:
            assert dict(result.dtypes)[one["fieldName"]] in fit[one["scale"]["type"]]


def test_every_dataset_is_shown() -> None:
    assert {widget["queries"][0]["query"]["datasetName"] for widget in WIDGETS.values()} == DATASETS.keys()


def test_the_page_of_now_tells_of_the_newest_run(query: Query) -> None:
    assert rows(query(DATASETS["newest_run"])) == [(TODAY, 2, 4, TODAY)]
    alarms = rows(query(DATASETS["alarms"]).select("metric", "feature", "limit"))
    assert alarms == [("null_rate", "amount", 0.02), ("psi", "channel", 0.25), ("quality", "", 0.25), ("rows", "", 500)]


def test_what_is_no_number_is_not_drawn(query: Query) -> None:
    found = rows(query(DATASETS["performance"]).select("series", "value", "limit"))
    unknown = [(f"{metric}, version 2", None, None) for metric in ("old_quality", "other_quality")]
    assert found == [*unknown, ("quality, version 2", 0.125, 0.25)]


def test_columns_are_listed_worst_first_and_drawn_with_the_limit(query: Query) -> None:
    worst = rows(query(DATASETS["columns"]))
    assert worst == [("channel", 0.9, 0.25, None, None, "alarm"), ("amount", 0.2, 0.25, 0.5, 0.02, "alarm")]
    drawn = rows(query(DATASETS["drift"]))
    assert sorted(drawn) == [
        *((BEFORE, "(limit)", 0.25), (BEFORE, "amount", 0.1)),
        *((TODAY, "(limit)", 0.25), (TODAY, "amount", 0.2), (TODAY, "channel", 0.9)),
    ]


def test_rows_are_counted_by_day_and_version(query: Query) -> None:
    assert sorted(rows(query(DATASETS["scored_days"]))) == [
        *((BEFORE, "version 1", 2), (TODAY, "unknown", 1), (TODAY, "version 2", 1)),
    ]
    assert sorted(rows(query(DATASETS["window_rows"]))) == [
        *((BEFORE, "(limit)", 500), (BEFORE, "rows", 7000), (TODAY, "(limit)", 500), (TODAY, "rows", 400)),
    ]


def test_a_version_stands_beside_the_champion_of_its_day(query: Query) -> None:
    assert rows(query(DATASETS["gate"])) == [
        (TODAY, 3, "FAILED", "quality", 0.125, 0.5, 2),
        (BEFORE, 2, "PASSED", "quality", 0.5, 0.25, 1),
    ]
    assert rows(query(DATASETS["releases"]).select("model_version", "previous_version", "git_commit")) == [
        (2, 1, "0123456789ab")
    ]


@pytest.mark.parametrize("target", BUNDLES)
@pytest.mark.parametrize(
    ("key", "expected"), [("alarm", [("psi", "channel"), ("quality", "")]), ("stale", [(0, TODAY)])]
)
def test_an_alert_asks_for_what_it_compares(
    target: str, key: str, expected: list[Any], schema: str, spark: SparkSession
) -> None:
    found, text = alert(target, key, schema)
    result = spark.sql(text)
    assert found["evaluation"]["source"]["name"] in result.columns
    assert [row[:2] for row in rows(result)] == expected


@pytest.mark.parametrize("target", BUNDLES)
def test_alerts_start_by_themselves_where_monitoring_does(target: str) -> None:
    resources = BUNDLES[target]["resources"]
    monitored = "schedule" in resources["jobs"]["monitoring"]
    started = {alert["schedule"]["pause_status"] for alert in resources["alerts"].values()}
    assert started == {"UNPAUSED" if monitored else "PAUSED"}
