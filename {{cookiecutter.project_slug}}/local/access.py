"""Who may read and write what, as the bundle files say it: the table of docs/access.md."""

from pathlib import Path
from typing import Any

from .bundle import load_bundle, target_names

HEAD = "| in | who | reads | writes | jobs |"
JOBS = {"CAN_VIEW": "sees them", "CAN_MANAGE_RUN": "starts them", "CAN_MANAGE": "manages them"}
READS = {"SELECT": "tables", "EXECUTE": "model"{{ ', "CAN_QUERY": "answers"' if cookiecutter.__realtime == "yes" }}{{ ', "CAN_READ": "pages"' if cookiecutter.__dashboard == "yes" }}}
WRITES = {"MODIFY": "tables", "APPLY_TAG": "tags of the model", "MANAGE": "grants"{{ ', "CAN_QUERY": "requests"' if cookiecutter.__realtime == "yes" }}}


def table(root: Path) -> str:
    """Return a Markdown table with one row per target and identity or group, for the project in `root`."""
    rows = [row for target in target_names(root) for row in _rows(load_bundle(root, target))]
    lines = [HEAD, "|---|---|---|---|---|", *(f"| {' | '.join(cell or 'nothing' for cell in row)} |" for row in rows)]
    return "\n".join(lines)


def update(root: Path) -> Path:
    """Write the table into docs/access.md, and return that path."""
    page = root / "docs" / "access.md"
    before, head, rest = page.read_text(encoding="utf-8").partition(HEAD)
    after = rest.partition("\n\n")[2] if head else ""
    page.write_text(f"{before}{table(root)}\n\n{after}", encoding="utf-8")
    return page


def _rows(bundle: dict[str, Any]) -> list[list[str]]:
    target, resources, variables = bundle["bundle"]["target"], bundle["resources"], bundle["var"]
    own = [schema["id"] for schema in resources["schemas"].values()]
    sources = [variables["source_table"], variables.get("source_model")]
    runs_as = next(iter(bundle.get("run_as", {}).values()), None)
    deployer = [
        target,
        f"`{runs_as}`" if runs_as else "whoever deploys",
        ", ".join(f"`{name}`" for name in sources if name and name.rsplit(".", 1)[0] not in own)
        or "only what it writes",
        ", ".join(f"`{schema}`" for schema in own),
        "manages them, they run as it",
    ]
    if bundle.get("mode") == "development":
        for schema in own:
            copy = f"{schema.rsplit('.', 1)[0]}.dev_<you>_{schema.rsplit('.', 1)[1]}"
            deployer = [cell.replace(f"`{schema}`", f"`{copy}`") for cell in deployer]

    granted = [
        (grant["principal"], privilege, f"`{resource['id']}`")
        for kind in ("schemas", "registered_models")
        for resource in resources.get(kind, {}).values()
        for grant in resource.get("grants", [])
        for privilege in grant["privileges"]
    ]
{%- if cookiecutter.__realtime == "yes" %}
    if callers := variables["endpoint_callers_group"]:
        granted.append((callers, "CAN_QUERY", "the endpoint"))  # by the task `activate`
{%- endif %}
{%- if cookiecutter.__dashboard == "yes" %}
    granted += [
        (reader["group_name"], reader["level"], "the dashboard and the alerts")
        for reader in variables["dashboard_permissions"]
    ]
{%- endif %}
    levels = {
        name: entry["level"]
        for job in resources["jobs"].values()
        for entry in job.get("permissions", [])
        for field, name in entry.items()
        if field != "level"
    }
    return [deployer] + [
        [
            target,
            f"`{group}`",
            *(
                "; ".join(f"{what[right]} of {on}" for who, right, on in granted if who == group and right in what)
                for what in (READS, WRITES)
            ),
            JOBS.get(levels.get(group, ""), ""),
        ]
        for group in dict.fromkeys([*levels, *(who for who, _, _ in granted)])
    ]
