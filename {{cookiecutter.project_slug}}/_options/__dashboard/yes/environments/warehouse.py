"""The SQL warehouse of the dashboard: that it is there, and that who needs it may use it."""

import json
from functools import partial
from typing import Any

from databricks.sdk import WorkspaceClient
from databricks.sdk.errors import PermissionDenied

from .findings import MISSING, Change, Finding, Findings, check

USES = {"CAN_USE", "CAN_MONITOR", "CAN_MANAGE", "IS_OWNER"}
EVERYBODY = ("group_name", "users")  # all who have a place in the workspace


def warehouse(workspace: WorkspaceClient, bundle: dict[str, Any], identities: dict[str, str]) -> Findings:
    """Check the warehouse that a target looks up by its name.

    Args:
        identities: who deploys or validates the target, by the name that grants know, and what it is called.
    """
    variables, client = bundle["var"], workspace.api_client
    name = bundle["variables"]["warehouse_id"]["lookup"]["warehouse"]
    listed: Any = client.do("GET", "/api/2.0/sql/warehouses")
    ids = [one["id"] for one in listed.get("warehouses", []) if one["name"] == name]
    if not ids:
        yield Finding(MISSING, f"SQL warehouse {name}", (Change("Make it, or name another: resources/warehouse.yml."),))
        return
    path = f"/api/2.0/permissions/warehouses/{ids[0]}"
    try:
        answer: Any = client.do("GET", path)
    except PermissionDenied as error:
        yield Finding(MISSING, f"SQL warehouse {name}: {error}", (Change("Ask as somebody who manages it."),))
        return
    users = {
        (kind, entry.get(kind))
        for entry in answer.get("access_control_list", [])
        for kind in ("group_name", "service_principal_name", "user_name")
        if USES & {one["permission_level"] for one in entry.get("all_permissions", [])}
    }
    groups = [reader["group_name"] for reader in variables["dashboard_permissions"]]
    needed = {group: "group_name" for group in groups or [variables["data_scientists_group"]]}
    needed |= {who: "user_name" if "@" in who else "service_principal_name" for who in identities}
    for who, kind in needed.items():
        body = {"access_control_list": [{kind: who, "permission_level": "CAN_USE"}]}
        grant = Change(
            f"databricks permissions update warehouses {ids[0]} --json '{json.dumps(body)}'",
            partial(client.do, "PATCH", path, body=body),
        )
        what = f"{identities.get(who, who)}: CAN_USE on SQL warehouse {name}"
        yield check(bool({(kind, who), EVERYBODY} & users), what, grant)
