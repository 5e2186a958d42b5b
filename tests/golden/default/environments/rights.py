"""Unity Catalog: what each identity and group needs in a target, and who could write there without needing to."""

from collections import defaultdict
from functools import partial
from typing import Any

from databricks.sdk import WorkspaceClient
from databricks.sdk.errors import NotFound, PermissionDenied

from .findings import MISSING, TOO_MUCH, Change, Finding, Findings, check

# By kind and name of a securable, then by principal. A registered model is a function to Unity Catalog.
Rights = dict[tuple[str, str], dict[str, set[str]]]
KINDS = {"schemas": "schema", "registered_models": "function"}
# What others may have on a catalog: nothing of it changes what this project has there.
READS = {"BROWSE", "CREATE_SCHEMA", "EXECUTE", "READ_VOLUME", "SELECT", "USE_CATALOG", "USE_SCHEMA"}


def owned(bundle: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    """Return what the bundle makes in Unity Catalog, and owns the grants of."""
    return {
        (securable, resource["id"]): resource
        for kind, securable in KINDS.items()
        for resource in bundle["resources"].get(kind, {}).values()
    }


def needed(bundle: dict[str, Any], bundles: dict[str, dict[str, Any]], deployers: list[str]) -> Rights:
    """Return the rights that a target needs.

    Args:
        bundle: the target.
        bundles: all targets, by name: their catalogs may be sources.
        deployers: who deploys it and runs its jobs; nobody in particular in dev.
    """
    rights: Rights = defaultdict(lambda: defaultdict(set))
    variables, personal = bundle["var"], bundle.get("mode") == "development"
    catalog = rights["catalog", variables["catalog"]]
    if personal:
        catalog[variables["data_scientists_group"]] |= {"USE_CATALOG", "CREATE_SCHEMA"}
    else:
        for key, resource in owned(bundle).items():
            principals = rights[key]  # also of what nobody else needs
            for grant in resource.get("grants", []):
                principals[grant["principal"]] |= set(grant["privileges"])
                catalog[grant["principal"]] |= {"USE_CATALOG"}

    def schemas(of: dict[str, Any]) -> set[str]:
        return {schema["id"] for schema in of["resources"]["schemas"].values()}

    for deployer in deployers:
        catalog[deployer] |= {"USE_CATALOG", "CREATE_SCHEMA"}
        # The bundle of a source owns the grants of its schema, so these are granted on the catalog: docs/promotion.md.
        table, model = variables["source_table"], variables.get("source_model")
        schema = table.rpartition(".")[0]
        if schema not in schemas(bundle):
            of_a_target = any(schema in schemas(other) for other in bundles.values())
            above = ("catalog", schema.partition(".")[0])
            rights[above][deployer] |= {"USE_CATALOG"}
            rights[above if of_a_target else ("schema", schema)][deployer] |= {"USE_SCHEMA"}
            rights["table", table][deployer] |= {"SELECT"}
        if model:
            source = next((other for other in bundles.values() if model.rpartition(".")[0] in schemas(other)), {})
            # In dev a schema is somebody's own, who grants the rest.
            further = set() if source.get("mode") == "development" else {"USE_SCHEMA", "EXECUTE"}
            rights["catalog", model.partition(".")[0]][deployer] |= {"USE_CATALOG"} | further
    return rights


class Catalogs:
    """Unity Catalog, as the owner of the catalogs sees it from the workspace of a target."""

    def __init__(self, workspace: WorkspaceClient, names: dict[str, str]) -> None:
        self.client, self.names = workspace.api_client, names

    def granted(self, kind: str, name: str) -> dict[str, set[str]]:
        # Asked without the SDK's classes: they leave out privileges that they do not know.
        answer: Any = self.client.do("GET", f"/api/2.1/unity-catalog/permissions/{kind}/{name}")
        return {one["principal"]: set(one["privileges"]) for one in answer.get("privilege_assignments", [])}

    def findings(
        self, bundle: dict[str, Any], rights: Rights, ours: set[str], others: set[str], trusted: set[str]
    ) -> Findings:
        """Check that each principal has what it needs, and that nobody has more than that who could do harm.

        Args:
            ours: identities of this project, which must not have more than they need anywhere.
            others: catalogs where they need nothing.
            trusted: principals whose further rights are intended, such as admins of the platform.
        """
        personal, made_here = bundle.get("mode") == "development", owned(bundle)
        nothing: Rights = {("catalog", name): {} for name in sorted(others)}
        for (kind, name), principals in (nothing | rights).items():
            try:
                has = self.granted(kind, name)
            except (NotFound, PermissionDenied) as error:
                grants = tuple(Change(sql("GRANT", who, needs, kind, name)) for who, needs in principals.items())
                # The first deployment makes the schema and the model, and their grants with them.
                if grants and (isinstance(error, PermissionDenied) or (kind, name) not in made_here):
                    yield Finding(MISSING, f"{kind} {name}: {error}", grants)
                continue
            for who, needs in principals.items():
                what = f"{self.names.get(who, who)}: {', '.join(sorted(needs))} on {kind} {name}"
                yield check(needs <= has.get(who, set()), what, self.change("GRANT", who, needs, kind, name))
            for who, privileges in has.items():
                extra = privileges - principals.get(who, set())
                own = (kind, name) in made_here
                if not (who in ours or own):
                    # It has other users. What matters is whether they can write to what is this project's.
                    reaches = (kind, name) == ("catalog", bundle["var"]["catalog"]) and not personal
                    extra = extra - READS if reaches else set()
                if extra and who not in trusted:
                    revoke = self.change("REVOKE", who, extra, kind, name)
                    by_hand = Change(f"{revoke.text}  -- or --trust '{who}', if that is intended")
                    what = f"{self.names.get(who, who)}: {', '.join(sorted(extra))} on {kind} {name}"
                    yield Finding(TOO_MUCH, what, (revoke if who in ours or own else by_hand,))

    def change(self, verb: str, principal: str, privileges: set[str], kind: str, name: str) -> Change:
        change = {"principal": principal, "add" if verb == "GRANT" else "remove": sorted(privileges)}
        path = f"/api/2.1/unity-catalog/permissions/{kind}/{name}"
        return Change(
            sql(verb, principal, privileges, kind, name),
            lambda: self.client.do("PATCH", path, body={"changes": [change]}),
        )

    def owners(self, bundle: dict[str, Any], deployers: list[str]) -> Findings:
        """Check that what is deployed belongs to whoever deploys: an owner may do everything with it."""
        for kind, name in owned(bundle) if deployers else ():
            word, path = ("SCHEMA", "schemas") if kind == "schema" else ("MODEL", "models")
            try:
                found: Any = self.client.do("GET", f"/api/2.1/unity-catalog/{path}/{name}")
            except (NotFound, PermissionDenied):
                continue
            owner, change = found.get("owner"), {"owner": deployers[0]}
            alter = Change(
                f"ALTER {word} {quoted(name)} OWNER TO {backticked(deployers[0])};",
                partial(self.client.do, "PATCH", f"/api/2.1/unity-catalog/{path}/{name}", body=change),
            )
            what = f"{name} belongs to {self.names.get(owner, owner)}"
            yield check(owner in deployers, what, alter, state=TOO_MUCH)


def sql(verb: str, principal: str, privileges: set[str], kind: str, name: str) -> str:
    """Return a GRANT or a REVOKE."""
    listed = ", ".join(privilege.replace("_", " ") for privilege in sorted(privileges))
    to = "TO" if verb == "GRANT" else "FROM"
    return f"{verb} {listed} ON {kind.upper()} {quoted(name)} {to} {backticked(principal)};"


def quoted(name: str) -> str:
    return ".".join(map(backticked, name.split(".")))


def backticked(name: str) -> str:
    """Return a name as SQL wants it; a backtick in it is doubled, so that nothing after it is read as SQL."""
    return "`" + name.replace("`", "``") + "`"
