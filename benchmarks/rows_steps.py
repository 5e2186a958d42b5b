"""The steps of rows.py. Each runs in a process of its own, in a rendered project, in its environment.

python rows_steps.py fill|train|validate|monitor ROWS
"""

import json
import multiprocessing
import os
import resource
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import mlflow
import numpy as np
import pandas as pd
from scoring_steps import CATALOG, DAY, PROJECT, chunk, module, parquet, schema, session, write

from local.bundle import load_bundle
from local.engine import STATE, create_resources, environment, open_session, spark_server

DAYS = 60
RUN_DATE = DAY + timedelta(days=1)


def labelled_chunk(first: int, rows: int) -> pd.DataFrame:
    """Return rows with features, a label that large amounts make likely, and a prediction."""
    rng = np.random.default_rng([first, 1])
    table = chunk(first, rows)
    table["event_date"] = [RUN_DATE - timedelta(days=int(days)) for days in rng.integers(1, DAYS + 1, rows)]
    table["event_time"] = pd.to_datetime(table["event_date"], utc=True)
    chance = 1 / (1 + np.exp(5 - np.log(table["amount"])))
    table["is_fraud"] = (rng.random(rows) < chance).astype("int32")
    table["label_time"] = table["event_time"]
    table["fraud_score"] = chance
    return table


def fill(rows: int) -> dict[str, float]:
    """Write the source, the features and the predictions of this size."""
    start = time.perf_counter()
    write(rows, labelled_chunk)
    (PROJECT.resolve() / STATE / "lakehouse" / CATALOG / schema(rows)).mkdir(parents=True, exist_ok=True)
    create_resources(PROJECT, load_bundle(PROJECT, "dev"))
    with session() as spark:
        written = spark.read.parquet(str(parquet(rows)))
        key, when = "transaction_id", ("event_time", "event_date")
        columns = {
            "source": ("card_id", "label_time", "is_fraud"),
            "features": ("card_id", *module("problem.features").FEATURES),
            "predictions": ("fraud_score",),
        }
        for table, own in columns.items():
            name = f"`{CATALOG}`.`{schema(rows)}`.{table}"
            written.select(key, *when, *own).writeTo(name).using("delta").createOrReplace()
    parquet(rows).unlink()
    return {"seconds": time.perf_counter() - start}


def driver(name: str, rows: int, answer: Any) -> None:
    """Run a task as the driver of a Spark that runs elsewhere, and send its seconds and its peak memory in bytes."""
    values = SimpleNamespace(set=lambda key, value: None)
    jobs = SimpleNamespace(jobs=SimpleNamespace(taskValues=values))
    sys.modules["databricks.sdk.runtime"] = SimpleNamespace(dbutils=jobs, is_local_implementation=False)  # type: ignore
    open_session(PROJECT.resolve() / STATE / "lakehouse")
    target = f"{CATALOG}.{schema(rows)}"
    client = mlflow.MlflowClient()
    model = f"{target}.model"
    experiment = schema(rows)

    def train() -> None:
        module("tasks.train").train(f"{target}.source", target, model, experiment, RUN_DATE, DAYS, 1.0, "dev", "")
        client.set_registered_model_alias(model, "champion", "1")

    def validate() -> None:
        version = max(client.search_model_versions(f"name='{model}'"), key=lambda each: int(each.version)).version
        if str(version) == "1":  # the champion has nothing to prove
            client.delete_registered_model_alias(model, "champion")
        try:
            module("tasks.validate").validate(
                f"{target}.source", target, model, str(version), experiment, RUN_DATE, DAYS, "dev"
            )
        except module("tasks.validate").GateError:
            pass  # whether made-up rows are good enough does not matter here
        client.set_registered_model_alias(model, "champion", "1")

    def monitor() -> None:
        module("tasks.monitor").monitor(f"{target}.source", target, model, experiment, RUN_DATE, "dev")

    tasks: dict[str, Callable[[], None]] = {"train": train, "validate": validate, "monitor": monitor}
    start = time.perf_counter()
    try:
        tasks[name]()
    finally:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
        answer.put({"seconds": time.perf_counter() - start, "peak": peak})


def run(name: str, rows: int) -> dict[str, float]:
    """Run Spark here and the driver in a process of its own."""
    context = multiprocessing.get_context("spawn")
    with spark_server([CATALOG]):
        answer = context.SimpleQueue()
        process = context.Process(target=driver, args=(name, rows, answer))
        process.start()
        process.join()
        if process.exitcode:
            sys.exit(f"{name} failed")
        return answer.get()


if __name__ == "__main__":
    os.environ.update(environment(PROJECT))
    step, count = sys.argv[1:]
    print(json.dumps(fill(int(count)) if step == "fill" else run(step, int(count))))
