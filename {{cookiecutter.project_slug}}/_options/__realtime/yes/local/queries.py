"""Sends rows to an endpoint of the laptop, as an application does."""

from datetime import date, timedelta
from pathlib import Path

from {{ cookiecutter.package_name }}.platform import data, serving
from {{ cookiecutter.package_name }}.tasks.query_endpoint import query

from .bundle import load_bundle
from .engine import STATE, open_session
from .terminal import say


def query_days(root: Path, target: str, run_date: date, days: int) -> None:
    """Send the rows of the `days` days before `run_date` to the endpoint of `target`."""
    bundle = load_bundle(root, target)
    spark = open_session(root.resolve() / STATE / "lakehouse")
    first = run_date - timedelta(days=days)
    rows = data.feature_rows(spark, bundle["var"]["source_table"], first, run_date).toPandas()
    endpoint = serving.endpoint_name(bundle["resources"]["registered_models"]["model"]["id"])
    requests = list(query(endpoint, rows))
    say(f"the endpoint of {target} answers {len(rows):,} rows in {len(requests)} requests", indent="  ")
