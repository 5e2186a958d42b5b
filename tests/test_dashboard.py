"""The dashboard and the alerts: what a deployment makes of them, and what they say of a model that has lived."""

import json
import math
import shutil
import uuid
from pathlib import Path
from typing import Any

import pytest
from conftest import Bake
from helpers import commit, every_target, files, load_bundle, lock, run
from real_cli import hosts, needs_cli
from test_cli import Workspace, calm, groups_of

WAREHOUSE = "Serverless Starter Warehouse"

# Without an alarm, or before enough labels have arrived.
MAY_BE_EMPTY = {"alarm", "alarm_table", "choose_metric", "performance_chart", "performance_table"}

Rows = list[dict[str, Any]]


def asked(project: Path, dashboard: Path) -> dict[str, dict[str, Rows]]:
    """Return what a dashboard and its alerts show of a project that has lived, by monitored target and by widget.

    Args:
        dashboard: a project that has the dashboard, and otherwise the same answers.
    """
    monitored = (project / ".local" / "lakehouse").glob("*/fraud_detection/monitoring_metrics")
    targets = sorted(path.parts[-3] for path in monitored)
    script = Path(__file__).with_name("dashboard_queries.py")
    result = run("uv", "run", "python", script, dashboard, *targets, cwd=project, PYTHONPATH=str(project))
    assert result.returncode == 0, result.stdout[-6000:]
    return json.loads(result.stdout.splitlines()[-1])


def check_plausible(shown: dict[str, Rows]) -> None:
    """See to it that widgets say something, and nothing absurd, whatever the problem and the pattern are."""
    assert not {name for name, rows in shown.items() if not rows} - MAY_BE_EMPTY
    numbers = [value for rows in shown.values() for row in rows for value in row.values() if isinstance(value, float)]
    assert numbers and all(math.isfinite(value) for value in numbers)
    (newest,) = shown["last_run"]
    assert newest["last_run"] == shown["stale"][0]["last_run"]
    measured = [row["run_date"] for row in shown["performance_table"]]
    assert shown["last_measured"][0]["last_measured"] == max(measured, default=None)
    psi = [row["psi"] for row in shown["columns_table"]]
    assert psi == sorted(psi, reverse=True) and min(psi) >= 0
    assert all(0 <= row["null_rate"] <= 1 for row in shown["columns_table"] if row["null_rate"] is not None)
    drawn = {row["series"] for row in shown["drift_chart"]}
    assert drawn == {"(limit)"} | {row["feature"] for row in shown["columns_table"][:10]}
    assert {row["metric"] for row in shown["performance_table"]} == {row["metric"] for row in shown["choose_metric"]}
    assert not {"rows", "psi", "null_rate"} & {row["metric"] for row in shown["choose_metric"]}
    now = [row for row in shown["alarm_table"] if row["run_date"] == newest["last_run"]]
    assert len(now) == shown["alarms_now"][0]["alarms"]
    assert len(shown["alarm"]) == len([row for row in now if row["metric"] not in ("rows", "null_rate")])


@every_target
def test_a_project_without_a_warehouse_has_nothing_of_it(target: str, bake: Bake) -> None:
    assert not {"dashboards", "alerts"} & load_bundle(bake(), target)["resources"].keys()
    assert not [name for name, content in files(bake()).items() if b"warehouse_id" in content]


def ready(bake_anew: Bake, warehouse: str = WAREHOUSE) -> Path:
    """Render a project that can be deployed."""
    made = bake_anew(sql_warehouse=warehouse, **hosts())
    commit(made)
    lock(made)
    return made


@pytest.fixture(scope="module")
def project(bake_anew: Bake) -> Path:
    return ready(bake_anew)


@pytest.mark.slow
@needs_cli
@every_target
def test_what_is_deployed(target: str, project: Path, tmp_path: Path) -> None:
    shutil.rmtree(project / ".databricks", ignore_errors=True)
    workspace = Workspace(project, target, tmp_path, f"token-{uuid.uuid4().hex}")
    calm(workspace.databricks("bundle", "validate", "--strict"))
    calm(workspace.databricks("bundle", "deploy", "--auto-approve"))
    assert "0 to add, 0 to change, 0 to delete" in calm(workspace.databricks("bundle", "plan"))
    deployed = workspace.read("bundle", "summary")["resources"]
    schema = deployed["schemas"]["schema"]["id"]
    catalog, name = schema.split(".")
    prefix = "[dev tester] " if target == "dev" else ""
    readers = {} if target == "dev" else {"data-scientists": "CAN_READ"}
    (warehouse,) = workspace.get("/api/2.0/sql/warehouses")["warehouses"]

    key = deployed["dashboards"]["dashboard"]["id"]
    draft = workspace.get(f"/api/2.0/lakeview/dashboards/{key}")
    published = workspace.get(f"/api/2.0/lakeview/dashboards/{key}/published")
    assert draft["display_name"] == f"{prefix}fraud-detection model ({target})"
    datasets = json.loads(draft["serialized_dashboard"])["datasets"]
    assert {f"{dataset['catalog']}.{dataset['schema']}" for dataset in datasets} == {schema}
    assert published["embed_credentials"] is False, "who looks on sees what they may read"
    assert draft["warehouse_id"] == published["warehouse_id"] == warehouse["id"]
    assert groups_of(workspace, f"dashboards/{key}") == readers

    assert deployed["alerts"].keys() == {"alarm", "stale"}
    for key, resource in deployed["alerts"].items():
        alert = workspace.get(f"/api/2.0/alerts/{resource['id']}")
        assert alert["display_name"] == f"{prefix}fraud-detection {key} ({target})"
        assert alert["schedule"]["pause_status"] == ("UNPAUSED" if target == "prod" else "PAUSED")
        assert f"`{catalog}`.`{name}`.monitoring_metrics" in alert["query_text"]
        assert alert["warehouse_id"] == warehouse["id"]
        assert alert["evaluation"]["notification"]["subscriptions"] == [{"user_email": "ml-team@example.com"}]
        assert groups_of(workspace, f"alertsv2/{resource['id']}") == readers


@pytest.mark.slow
@needs_cli
def test_a_workspace_without_the_warehouse_is_refused(bake_anew: Bake, tmp_path: Path) -> None:
    made = ready(bake_anew, "Another")
    refused = Workspace(made, "dev", tmp_path, f"token-{uuid.uuid4().hex}").databricks(
        "bundle", "validate", "--strict", fails=True
    )
    assert "failed to resolve warehouse: Another" in refused.stderr


@pytest.mark.slow
@needs_cli
def test_an_edit_in_the_workspace_is_not_lost(bake_anew: Bake, tmp_path: Path) -> None:
    """As docs/dashboard.md says: it comes into the file, and a deployment does not write over it."""
    made = ready(bake_anew)
    workspace = Workspace(made, "dev", tmp_path, f"token-{uuid.uuid4().hex}")
    workspace.databricks("bundle", "deploy")
    key = workspace.read("bundle", "summary")["resources"]["dashboards"]["dashboard"]["id"]
    page = f"/api/2.0/lakeview/dashboards/{key}"
    text = workspace.get(page)["serialized_dashboard"].replace("Newest run", "Last run")
    workspace.databricks("lakeview", "update", key, "--json", json.dumps({"serialized_dashboard": text}))
    assert "modified remotely" in workspace.databricks("bundle", "deploy", fails=True).stderr

    workspace.databricks("bundle", "generate", "dashboard", "--resource", "dashboard", "--force")
    assert "Last run" in (made / "resources" / "dashboard.lvdash.json").read_text(encoding="utf-8")
    workspace.databricks("bundle", "deploy", "--force")
    assert "Last run" in workspace.get(page)["serialized_dashboard"]
    assert "0 to add, 0 to change, 0 to delete" in workspace.databricks("bundle", "plan").stdout
