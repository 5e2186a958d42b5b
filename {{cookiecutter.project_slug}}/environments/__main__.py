"""`uv run python -m environments plan|apply --target prod`: what the set-up of a target needs, and has too much."""

import os
import sys
from argparse import ArgumentParser, Namespace
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from databricks.sdk import WorkspaceClient
from databricks.sdk.errors import DatabricksError, PermissionDenied, Unauthenticated

from .findings import THERE, Finding, Findings, SetUpError
from .identities import Account, Identity
from .provider import OPTIONS, Provider
from .rights import Catalogs, needed
{%- if cookiecutter.__dashboard == "yes" %}
from .warehouse import warehouse
{%- endif %}
from local.bundle import load_bundle, target_names

ROOT = Path(__file__).parents[1]


def parser() -> ArgumentParser:
    made = ArgumentParser(prog="python -m environments", description="The set-up of the targets, outside the bundle.")
    made.add_argument("command", choices=["plan", "apply"], help="plan changes nothing, and fails unless all is right")
    made.add_argument("--target", choices=target_names(ROOT), required=True)
    made.add_argument("--profile", default="account", help="profile in ~/.databrickscfg of an admin of the account")
    made.add_argument(
        "--trust", nargs="+", default=[], metavar="NAME", help="who may have more rights on a catalog, like its admins"
    )
    for option, text in OPTIONS.items():
        made.add_argument(option, nargs="+", default=[], metavar="NAME", help=text)
    return made


def open_workspace(host: str) -> WorkspaceClient:
    try:
        return WorkspaceClient(host=host)
    except ValueError as error:
        login = f"databricks auth login --host {host}"
        raise SetUpError(f"Nobody is logged in to {host}: {error}\nType `{login}`.") from None


def check_target(arguments: Namespace) -> Findings:
    """Check all that a target needs: its identities, their rights, and the provider's settings."""
    bundles = {name: load_bundle(ROOT, name) for name in target_names(ROOT)}
    bundle = bundles[arguments.target]
    account, workspace = Account(arguments.profile), open_workspace(bundle["workspace"]["host"])
    number = workspace.get_workspace_id()
    provider = Provider(arguments, account.id)
    yield from provider.before()
    # In dev people deploy, and CI only where the last tests before a release run there.
    in_ci = arguments.target != "dev" or bool(bundles["staging"]["var"].get("source_model"))
    identities: dict[str, Identity] = {}
    for role in provider.roles if in_ci else provider.roles[:1]:
        name = f"{bundle['bundle']['name']}-{role}"
        identities[role] = yield from account.identity(name, provider.policies(role))
        yield from account.place(identities[role], number)
    variables = bundle["var"]
    groups = [entry["group_name"] for entry in variables["job_permissions"]] or [variables["data_scientists_group"]]
    for group in groups:
        yield from account.group(group, number)

    names = {one.application_id: one.name for one in identities.values()}
    deployers = [identities[arguments.target].application_id] if arguments.target in identities else provider.deployers
    catalogs, elsewhere = Catalogs(workspace, names), {other["var"]["catalog"] for other in bundles.values()}
    ours = {*names, *deployers}
    yield from catalogs.findings(bundle, needed(bundle, bundles, deployers), ours, elsewhere, set(arguments.trust))
    if bundle.get("mode") != "development":
        yield from catalogs.owners(bundle, deployers)
{%- if cookiecutter.__dashboard == "yes" %}
    yield from warehouse(workspace, bundle, {who: names.get(who, who) for who in (*names, *deployers)})
{%- endif %}
    yield from provider.findings(identities)


def report(findings: Iterator[Finding], apply: bool, target: str) -> bool:
    """Print what is found, put right what can be if `apply`, and return whether all is right."""
    counts: Counter[str] = Counter()
    for finding in findings:
        state, failed = finding.state, ""
        if apply and state != THERE and all(change.do for change in finding.changes):
            try:
                for change in finding.changes:
                    assert change.do is not None
                    change.do()
                state = "done"
            except (DatabricksError, SetUpError) as error:
                failed = f"\n{'':10}failed: {error}"
        counts[state] += 1
        steps = "" if state in (THERE, "done") else "".join(f"\n{'':10}{change.text}" for change in finding.changes)
        print(f"{state:10}{finding.what}{steps}{failed}", flush=True)
    print(f"{target}: {', '.join(f'{number} {state}' for state, number in counts.items())}")
    return set(counts) <= {THERE, "done"}


def main() -> None:
    arguments = parser().parse_args()
    os.chdir(ROOT)  # where git and the files are that a provider looks at
    try:
        right = report(check_target(arguments), arguments.command == "apply", arguments.target)
    except (Unauthenticated, PermissionDenied) as error:
        sys.exit(
            f"environments: Databricks refuses: {error}\nLog in to the account (--profile {arguments.profile}) as an "
            "admin of it, and to the workspace as a user of it."
        )
    except (DatabricksError, SetUpError) as error:
        sys.exit(f"environments: {error}")
    sys.exit(0 if right else 1)


if __name__ == "__main__":
    main()
