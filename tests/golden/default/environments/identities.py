"""The account of Databricks: who deploys a target, which jobs of CI/CD may log in as it, and who has a place there."""

import json
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

from databricks.sdk import AccountClient
from databricks.sdk.service.iam import GrantRule, RuleSetUpdateRequest, WorkspacePermission

from .findings import TOO_MUCH, Change, Finding, Findings, SetUpError, check

MAY_USE = "roles/servicePrincipal.user"


@dataclass(frozen=True)
class Identity:
    """A service principal; `application_id` is its name in grants. Both are placeholders while it does not exist."""

    name: str
    id: str
    application_id: str
    exists: bool
    admin: bool = False


class Account:
    """The account, as an admin of it sees it. `profile` is the one that `databricks auth login` has written."""

    def __init__(self, profile: str) -> None:
        login = f"databricks auth login --host <account console> --account-id <account id> --profile {profile}"
        try:
            self.client, self.profile = AccountClient(profile=profile), profile
        except ValueError as error:
            raise SetUpError(f"Nobody is logged in to the account: {error}\nType `{login}`.") from None
        if not self.client.config.account_id:
            raise SetUpError(f"The profile {profile} names no account. Type `{login}`.")
        self.id = self.client.config.account_id

    def change(self, text: str, do: Any) -> Change:
        return Change(f"databricks account {text} --profile {self.profile}", do)

    def identity(self, name: str, policies: list[dict[str, Any]]) -> Generator[Finding, None, Identity]:
        """Check a service principal and who may log in as it: the jobs that `policies` name, and nobody else."""
        create = self.change(
            f"service-principals create --display-name {name} --active",
            lambda: self.client.service_principals.create(display_name=name, active=True),
        )
        identity = self._find(name)
        yield check(identity.exists, f"service principal {name}", create)
        if not identity.exists:
            identity = self._find(name)
        yield from self._policies(identity, policies)
        if identity.exists:
            yield from self._other_ways_in(identity)
        return identity

    def _find(self, name: str) -> Identity:
        found = list(self.client.service_principals.list(filter=f'displayName eq "{name}"'))
        if len(found) > 1:
            ids = " and ".join(str(one.id) for one in found)
            raise SetUpError(f"Several service principals are called {name}: {ids}. Rename or delete the wrong one.")
        if not found:
            return Identity(name, f"<id of {name}>", f"<application id of {name}>", False)
        admin = any(role.value == "account_admin" for role in found[0].roles or [])
        return Identity(name, str(found[0].id), str(found[0].application_id), True, admin)

    def _policies(self, identity: Identity, wanted: list[dict[str, Any]]) -> Findings:
        path = f"/api/2.0/accounts/{self.id}/servicePrincipals/{identity.id}/federationPolicies"
        command = "service-principal-federation-policy"
        # Asked without the SDK's classes: they leave out what they do not know, which may be what makes a policy broad.
        found = list(self._pages(path, "policies")) if identity.exists else []
        there = [self._comparable(policy.get("oidc_policy")) for policy in found]
        for policy in wanted:
            body = {"oidc_policy": policy}
            create = self.change(
                f"{command} create {identity.id} --json '{json.dumps(body)}'",
                lambda body=body: self.client.api_client.do("POST", path, body=body),
            )
            yield check(self._comparable(policy) in there, f"{identity.name} for {policy['subject']}", create)
        needed = [self._comparable(policy) for policy in wanted]
        for policy, comparable in zip(found, there, strict=True):
            if comparable not in needed:
                number = policy["policy_id"]
                delete = self.change(
                    f"{command} delete {identity.id} {number}",
                    lambda number=number: self.client.api_client.do("DELETE", f"{path}/{number}"),
                )
                yield Finding(TOO_MUCH, f"{identity.name} for {json.dumps(policy.get('oidc_policy'))}", (delete,))
            else:
                needed.remove(comparable)  # a second one like it is one too many

    def _comparable(self, policy: dict[str, Any] | None) -> dict[str, Any]:
        given = {key: value for key, value in (policy or {}).items() if value}
        return {"audiences": [self.id], "subject_claim": "sub"} | given

    def _pages(self, path: str, field: str) -> Generator[dict[str, Any], None, None]:
        query: dict[str, str] = {}
        while True:
            page: Any = self.client.api_client.do("GET", path, query=query)
            yield from page.get(field, [])
            if not page.get("next_page_token"):
                return
            query = {"page_token": page["next_page_token"]}

    def _other_ways_in(self, identity: Identity) -> Findings:
        """Check that nobody has a secret of it, or may run jobs as it, and that it is not an admin."""
        if identity.admin:
            yield Finding(TOO_MUCH, f"{identity.name} is an admin of the account", (Change("Remove that role."),))
        for secret in self.client.service_principal_secrets.list(identity.id):
            delete = self.change(
                f"service-principal-secrets delete {identity.id} {secret.id}",
                lambda secret=secret: self.client.service_principal_secrets.delete(identity.id, secret.id),
            )
            yield Finding(TOO_MUCH, f"a secret of {identity.name}, with which anybody can act as it", (delete,))
        name = f"accounts/{self.id}/servicePrincipals/{identity.application_id}/ruleSets/default"
        rules = self.client.access_control.get_rule_set(name, "")
        users = [who for rule in rules.grant_rules or [] if rule.role == MAY_USE for who in rule.principals or []]
        if users:
            others = [GrantRule(one.role, one.principals) for one in rules.grant_rules or [] if one.role != MAY_USE]
            kept = RuleSetUpdateRequest(name, rules.etag or "", others)
            body = {"name": name, "rule_set": kept.as_dict()}
            update = self.change(
                f"access-control update-rule-set --json '{json.dumps(body)}'",
                lambda: self.client.access_control.update_rule_set(name, kept),
            )
            yield Finding(TOO_MUCH, f"{', '.join(users)} may run jobs as {identity.name}", (update,))

    def place(self, identity: Identity, workspace: int) -> Findings:
        """Check that an identity is a user of a workspace, and no admin."""
        path = f"/api/2.0/accounts/{self.id}/workspaces/{workspace}/permissionassignments/principals"
        user = {"permissions": ["USER"]}
        assigned = list(self.client.workspace_assignment.list(workspace))
        has = [a.permissions or [] for a in assigned if a.principal and str(a.principal.principal_id) == identity.id]
        update = self.change(
            f"workspace-assignment update {workspace} {identity.id} --json '{json.dumps(user)}'",
            lambda: self.client.api_client.do("PUT", f"{path}/{identity.id}", body=user),
        )
        yield check(bool(has), f"{identity.name} is a user of workspace {workspace}", update)
        if any(WorkspacePermission.ADMIN in permissions for permissions in has):
            yield Finding(TOO_MUCH, f"{identity.name} is an admin of workspace {workspace}", (update,))

    def group(self, name: str, workspace: int) -> Findings:
        """Check that a group exists and has a place in a workspace. People decide who belongs to it."""
        found = list(self.client.groups.list(filter=f'displayName eq "{name}"'))
        create = Change(f"Let your identity provider, or the account console, make the group {name}.")
        yield check(bool(found), f"group {name}", create)
        number = str(found[0].id) if found else f"<id of {name}>"
        yield from self.place(Identity(name, number, name, bool(found)), workspace)
