"""Spark and MLflow on the laptop: Sail answers Spark Connect, and everything is kept under `.local/`."""

import json
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

STATE = ".local"
PRIMARY_KEY = re.compile(r", CONSTRAINT \S+ PRIMARY KEY \(.+?\)")
HISTORY = re.compile(r"DESCRIBE HISTORY (.+) LIMIT 1")
# MLflow reads them when it is imported: it tells of tables that it makes, and prints the address of each run.
QUIET = {"MLFLOW_LOGGING_LEVEL": "WARNING", "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true"}


def set_aside(root: Path) -> Path:
    """Make way for a new state of this laptop, and return where the one from before is now, if there was one."""
    kept = root / f"{STATE}-{time.strftime('%Y%m%dT%H%M%S')}"
    if (root / STATE).exists():
        (root / STATE).rename(kept)
    return kept


def environment(root: Path) -> dict[str, str]:
    """Return the environment variables that point MLflow at the laptop's registry, and keep it off the network."""
    state = root.resolve() / STATE
    state.mkdir(parents=True, exist_ok=True)
    database = f"sqlite:///{(state / 'mlflow.db').as_posix()}"
    return {
        "MLFLOW_TRACKING_URI": database,
        "MLFLOW_REGISTRY_URI": database,
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
        # Small data: more threads of scikit-learn would only wait for each other.
        "OMP_NUM_THREADS": "1",
    }


@contextmanager
def spark_server(catalogs: list[str]) -> Iterator[None]:
    """Run a Sail server with these catalogs in memory; `SPARK_REMOTE` leads this process and its children to it."""
    listed = ",".join(f'{{type="memory",name="{name}",initial_database=["default"]}}' for name in catalogs)
    os.environ.setdefault("RUST_LOG", "error")
    os.environ |= {"SAIL_CATALOG__LIST": f"[{listed}]", "SAIL_CATALOG__DEFAULT_CATALOG": catalogs[0]}
    from pysail.spark import SparkConnectServer  # reads its settings when it is imported

    server = SparkConnectServer("127.0.0.1", 0)
    server.start(background=True)
    os.environ["SPARK_REMOTE"] = f"sc://127.0.0.1:{server.listening_address[1]}"
    try:
        yield
    finally:
        from pyspark.sql import SparkSession

        # A session that outlives its server keeps the process waiting for it at exit.
        if (session := SparkSession.getActiveSession()) is not None:
            session.stop()
        server.stop()


def open_session(lakehouse: Path) -> Any:
    """Return a Spark session that knows every Delta table below `lakehouse` (`<catalog>/<schema>/<table>`).

    Sail keeps its catalogs in memory and for one session, so each session registers the folders anew.
    """
    from pyspark.sql import SparkSession

    spark = SparkSession.builder.getOrCreate()
    spark.conf.set("spark.sql.session.timeZone", "UTC")
    for schema in sorted(path for path in lakehouse.glob("*/*") if path.is_dir()):
        name = f"`{schema.parent.name}`.`{schema.name}`"
        spark.sql(f"CREATE SCHEMA IF NOT EXISTS {name} LOCATION '{schema.as_posix()}'")
        for table in sorted(path.parent for path in schema.glob("*/_delta_log")):
            spark.sql(f"CREATE TABLE IF NOT EXISTS {name}.`{table.name}` USING delta LOCATION '{table.as_posix()}'")

    ask_sail = spark.sql

    def sql(query: str, *args: Any, **kwargs: Any) -> Any:
        # Sail 0.7 has no DESCRIBE HISTORY: the newest file of the Delta log tells the version.
        history = HISTORY.fullmatch(query)
        if history is None:
            # Nor has it primary keys. Unity Catalog does not enforce them either.
            return ask_sail(PRIMARY_KEY.sub("", query), *args, **kwargs)
        log = lakehouse.joinpath(*history[1].replace("`", "").split("."), "_delta_log")
        newest = max(int(path.stem) for path in log.glob("*.json"))
        return spark.createDataFrame([(newest,)], "version bigint")

    spark.sql = sql  # type: ignore[assignment, method-assign]
    return spark


def deployed_commits(root: Path) -> dict[str, str]:
    """Return the git commit that was deployed last, by target."""
    record = root / STATE / "deployed.json"
    return json.loads(record.read_text(encoding="utf-8")) if record.exists() else {}


def create_resources(root: Path, bundle: dict[str, Any]) -> None:
    """Create schemas, experiments and registered models of a bundle where they are missing, as a deployment does."""
    import mlflow
    from mlflow.exceptions import MlflowException

    for schema in bundle["resources"].get("schemas", {}).values():
        (root / STATE / "lakehouse" / schema["catalog_name"] / schema["name"]).mkdir(parents=True, exist_ok=True)
    client = mlflow.MlflowClient()
    artifacts = (root.resolve() / STATE / "artifacts").as_uri()
    for experiment in bundle["resources"].get("experiments", {}).values():
        if client.get_experiment_by_name(experiment["name"]) is None:
            client.create_experiment(experiment["name"], artifact_location=artifacts)
    for model in bundle["resources"].get("registered_models", {}).values():
        try:
            client.get_registered_model(model["id"])
        except MlflowException:
            client.create_registered_model(model["id"])
        client.update_registered_model(model["id"], description=model.get("comment"))
    commits = deployed_commits(root) | {bundle["bundle"]["target"]: bundle["bundle"]["git"]["commit"]}
    (root / STATE / "deployed.json").write_text(json.dumps(commits), encoding="utf-8")
