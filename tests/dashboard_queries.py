"""Runs inside a project that has lived, and asks its tables what the widgets and the alerts of a dashboard ask.

dashboard_queries.py PROJECT TARGET ...

PROJECT has the bundle with the dashboard. Prints the rows as JSON: by target and widget, or alert.
"""

import json
import sys
from pathlib import Path
from typing import Any

from local.bundle import load_bundle, target_names
from local.engine import STATE, open_session, spark_server


def questions(project: Path, bundle: dict[str, Any]) -> dict[str, str]:
    """Return the query of each widget, as the dashboard makes it from its dataset, and of each alert."""
    resources = bundle["resources"]
    path = project / "resources" / resources["dashboards"]["dashboard"]["file_path"]
    dashboard = json.loads(path.read_text(encoding="utf-8"))
    datasets = {dataset["name"]: "".join(dataset["queryLines"]) for dataset in dashboard["datasets"]}
    found = {name: alert["query_text"] for name, alert in resources["alerts"].items()}
    for page in dashboard["pages"]:
        for widget in (place["widget"] for place in page["layout"]):
            for asked in (one["query"] for one in widget.get("queries", [])):
                fields = ", ".join(f"{field['expression']} AS `{field['name']}`" for field in asked["fields"])
                found[widget["name"]] = f"SELECT {fields} FROM ({datasets[asked['datasetName']]})"
    return found


def main() -> None:
    project, targets = Path(sys.argv[1]), sys.argv[2:]
    bundles = {target: load_bundle(project, target) for target in target_names(project)}
    answers = {}
    with spark_server([bundle["var"]["catalog"] for bundle in bundles.values()]):
        spark = open_session(Path(STATE, "lakehouse").resolve())
        for target in targets:
            bundle = bundles[target]
            dashboard = bundle["resources"]["dashboards"]["dashboard"]
            spark.catalog.setCurrentCatalog(dashboard["dataset_catalog"])
            spark.catalog.setCurrentDatabase(dashboard["dataset_schema"])
            answers[target] = {
                name: [row.asDict() for row in spark.sql(text).collect()]
                for name, text in questions(project, bundle).items()
            }
    print(json.dumps(answers, default=str))


main()
