"""Databricks and the providers of CI/CD in memory, as far as `python -m environments` asks them, over HTTP.

One address answers for all: an account, two workspaces (127.0.0.1 is that of prod, localhost that of dev and staging),
Unity Catalog, and the interfaces that `gh`, `glab` and `az` talk to. Anything else is answered with 404, as there.
"""

import base64
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from threading import Lock
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

ACCOUNT, TOKEN = "00000000-0000-0000-0000-00000000aaaa", "token-of-an-admin"
WORKSPACES = {"127.0.0.1": 3333, "localhost": 2222}
REPOSITORY = "acme/fraud"
WAREHOUSE = {"id": "1", "name": "Shared"}
Json = Any


class RefusedError(Exception):
    """Answered with this status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def missing(what: str) -> RefusedError:
    return RefusedError(404, f"{what} does not exist. Not Found")


@dataclass
class State:
    """What all services hold."""

    principals: dict[str, Json] = field(default_factory=dict)  # by id
    groups: dict[str, str] = field(default_factory=lambda: {"data-scientists": "71", "model-approvers": "72"})
    policies: dict[str, list[Json]] = field(default_factory=dict)  # by id of the principal
    secrets: dict[str, list[Json]] = field(default_factory=dict)
    rule_sets: dict[str, list[Json]] = field(default_factory=dict)
    assigned: dict[int, dict[str, list[str]]] = field(default_factory=lambda: {one: {} for one in WORKSPACES.values()})
    grants: dict[str, dict[str, list[str]]] = field(
        default_factory=lambda: {f"catalog/{name}": {} for name in ("dev", "staging", "prod")}
    )
    owners: dict[str, str] = field(default_factory=dict)  # of schemas and models that exist
    may_use_warehouse: list[Json] = field(default_factory=list)
    # The provider's things, by their path; a list is what a collection holds.
    things: dict[str, Json] = field(default_factory=dict)
    ids: Any = field(default_factory=lambda: count(100))

    def shown(self) -> Json:
        """Return what is there, without what differs between two histories: ids, and the order of things."""
        told = {name: value for name, value in vars(self).items() if name != "ids"}
        return json.loads(json.dumps(told, sort_keys=True))


class Databricks:
    """The account and the workspaces."""

    def __init__(self, state: State) -> None:
        self.state = state
        self.admin = True

    def routes(self) -> dict[str, Callable[..., Json]]:
        account = f"/api/2.0/accounts/{ACCOUNT}"
        catalog = "/api/2.1/unity-catalog"
        principal = f"{account}/servicePrincipals/([^/]+)"
        return {
            "GET /.well-known/databricks-config": lambda: {"account_id": ACCOUNT},
            "GET /api/2.0/preview/scim/v2/Me": lambda: {"userName": "admin@example.com"},
            "GET /api/2.0/sql/warehouses": lambda: {"warehouses": [WAREHOUSE, {"id": "2", "name": "Another"}]},
            "GET /api/2.0/permissions/warehouses/1": lambda: {"access_control_list": self.state.may_use_warehouse},
            "PATCH /api/2.0/permissions/warehouses/1": self.permit,
            f"GET {account}/scim/v2/ServicePrincipals": self.list_principals,
            f"POST {account}/scim/v2/ServicePrincipals": self.make_principal,
            f"GET {account}/scim/v2/Groups": self.list_groups,
            f"GET {principal}/federationPolicies": self.list_policies,
            f"POST {principal}/federationPolicies": self.make_policy,
            f"DELETE {principal}/federationPolicies/(.+)": self.delete_policy,
            f"GET {principal}/credentials/secrets": lambda one: {"secrets": self.state.secrets.get(one, [])},
            f"DELETE {principal}/credentials/secrets/(.+)": self.delete_secret,
            f"GET /api/2.0/preview/accounts/{ACCOUNT}/access-control/rule-sets": self.rule_set,
            f"PUT /api/2.0/preview/accounts/{ACCOUNT}/access-control/rule-sets": self.set_rules,
            f"GET {account}/workspaces/(.+)/permissionassignments": self.list_assigned,
            f"PUT {account}/workspaces/(.+)/permissionassignments/principals/(.+)": self.assign,
            f"GET {catalog}/permissions/(.+)": self.granted,
            f"PATCH {catalog}/permissions/(.+)": self.grant,
            f"GET {catalog}/(?:schemas|models)/(.+)": self.owner,
            f"PATCH {catalog}/(?:schemas|models)/(.+)": self.change_owner,
        }

    def only_for_admins(self) -> None:
        if not self.admin:
            raise RefusedError(403, "Only account admins may do this")

    def list_principals(self, query: Json) -> Json:
        self.only_for_admins()
        if query.get("startIndex") != "1":
            return {"Resources": []}
        asked = re.fullmatch('displayName eq "(.+)"', query["filter"])
        assert asked is not None
        return {"Resources": [one for one in self.state.principals.values() if one["displayName"] == asked[1]]}

    def make_principal(self, body: Json) -> Json:
        self.only_for_admins()
        number = str(next(self.state.ids))
        self.state.principals[number] = body | {"id": number, "applicationId": f"app-{body['displayName']}"}
        return self.state.principals[number]

    def list_groups(self, query: Json) -> Json:
        if query.get("startIndex") != "1":
            return {"Resources": []}
        groups = self.state.groups.items()
        return {
            "Resources": [
                {"id": number, "displayName": name} for name, number in groups if f'"{name}"' in query["filter"]
            ]
        }

    def list_policies(self, one: str, query: Json) -> Json:
        """One on each page, so that whoever does not turn pages is found out."""
        policies, page = self.state.policies.get(one, []), int(query.get("page_token", 0))
        more = {"next_page_token": str(page + 1)} if page + 1 < len(policies) else {}
        return {"policies": policies[page : page + 1]} | more

    def make_policy(self, one: str, body: Json) -> Json:
        if one not in self.state.principals:
            raise missing(f"service principal {one}")
        policy = body | {"policy_id": f"policy-{next(self.state.ids)}"}
        self.state.policies.setdefault(one, []).append(policy)
        return policy

    def delete_policy(self, one: str, policy: str) -> Json:
        self.state.policies[one] = [other for other in self.state.policies[one] if other["policy_id"] != policy]
        return {}

    def delete_secret(self, one: str, secret: str) -> Json:
        self.state.secrets[one] = [other for other in self.state.secrets[one] if other["id"] != secret]
        return {}

    def rule_set(self, query: Json) -> Json:
        name = query["name"]
        return {"name": name, "etag": "etag", "grant_rules": self.state.rule_sets.get(name, [])}

    def set_rules(self, body: Json) -> Json:
        assert body["rule_set"]["etag"] == "etag"
        self.state.rule_sets[body["name"]] = body["rule_set"].get("grant_rules", [])
        return body["rule_set"]

    def list_assigned(self, workspace: str) -> Json:
        assigned = self.state.assigned[int(workspace)].items()
        return {
            "permission_assignments": [
                {"principal": {"principal_id": int(one)}, "permissions": permissions} for one, permissions in assigned
            ]
        }

    def assign(self, workspace: str, one: str, body: Json) -> Json:
        if one not in self.state.principals and one not in self.state.groups.values():
            raise missing(f"principal {one}")
        self.state.assigned[int(workspace)][one] = body["permissions"]
        return {}

    def granted(self, what: str) -> Json:
        if what not in self.state.grants:
            raise missing(what)
        entries = self.state.grants[what].items()
        return {"privilege_assignments": [{"principal": who, "privileges": had} for who, had in entries if had]}

    def grant(self, what: str, body: Json) -> Json:
        self.granted(what)
        known = {one["applicationId"] for one in self.state.principals.values()} | {
            *self.state.groups,
            "ada",
            "deployer",
            "mallory",
        }
        for change in body["changes"]:
            if change["principal"] not in known:
                raise missing(f"principal {change['principal']}")
            had = set(self.state.grants[what].get(change["principal"], []))
            had = (had | set(change.get("add", []))) - set(change.get("remove", []))
            self.state.grants[what][change["principal"]] = sorted(had)
        return {}

    def permit(self, body: Json) -> Json:
        for entry in body["access_control_list"]:
            level = {"permission_level": entry.pop("permission_level"), "inherited": False}
            self.state.may_use_warehouse.append(entry | {"all_permissions": [level]})
        return {}

    def owner(self, name: str) -> Json:
        if name not in self.state.owners:
            raise missing(name)
        return {"full_name": name, "owner": self.state.owners[name]}

    def change_owner(self, name: str, body: Json) -> Json:
        self.state.owners[name] = body["owner"]
        return self.owner(name)


class GitHub:
    """One repository, with what its administrators set."""

    def __init__(self, state: State) -> None:
        self.state, self.things = state, state.things
        self.full_name: str | None = REPOSITORY
        self.prefix = f"repo:{REPOSITORY}"

    def routes(self) -> dict[str, Callable[..., Json]]:
        repository = "/repos/([^/]+/[^/]+)"
        here = f"/repos/{self.full_name}"
        return {
            f"GET {repository}": self.repository,
            "GET /(?:orgs/acme/teams|users)/(.+)": lambda name: {"id": sum(map(ord, name))},
            f"GET {here}/actions/oidc/customization/sub": lambda: {
                "use_default": self.things.get("use_default", True),
                "sub_claim_prefix": self.prefix,
            },
            f"PUT {here}/actions/oidc/customization/sub": lambda body: self.things.update(body) or {},
            f"GET {here}/environments/([^/]+)": lambda name: self.thing(f"environment {name}"),
            f"PUT {here}/environments/([^/]+)": self.set_environment,
            f"GET {here}/environments/([^/]+)/deployment-branch-policies": lambda name: {
                "branch_policies": self.things.get(f"branches {name}", [])
            },
            f"POST {here}/environments/([^/]+)/deployment-branch-policies": self.add_branch,
            f"DELETE {here}/environments/([^/]+)/deployment-branch-policies/(.+)": self.delete_branch,
            f"GET {here}/(actions|environments/[^/]+)/variables/(.+)": lambda of, name: self.thing(f"{of} {name}"),
            f"POST {here}/(actions|environments/[^/]+)/variables": self.set_variable,
            f"PATCH {here}/(actions|environments/[^/]+)/variables/.+": self.set_variable,
            f"DELETE {here}/(actions|environments/[^/]+)/variables/(.+)": self.delete_variable,
            f"GET {here}/rulesets": lambda: [
                {"name": one["name"], "id": one["id"]} for one in self.things.get("rulesets", {}).values()
            ],
            f"POST {here}/rulesets": lambda body: self.set_ruleset(str(next(self.state.ids)), body),
            f"GET {here}/rulesets/(.+)": lambda number: self.things["rulesets"][number],
            f"PUT {here}/rulesets/(.+)": self.set_ruleset,
            f"GET {here}/contents/(.+)": lambda path: {
                "content": base64.b64encode(self.thing(f"file {path}").encode()).decode()
            },
            f"GET {here}/codeowners/errors": lambda: {"errors": self.things.get("errors", [])},
        }

    def repository(self, name: str) -> Json:
        if self.full_name is None:
            raise missing(name)
        return {"full_name": self.full_name}  # a name of before leads here

    def thing(self, name: str) -> Json:
        if name not in self.things:
            raise missing(name)
        return self.things[name]

    def set_environment(self, name: str, body: Json) -> Json:
        rules: list[Json] = [{"type": "branch_policy"}]
        if body.get("reviewers"):
            reviewers = [{"type": one["type"], "reviewer": {"id": one["id"]}} for one in body["reviewers"]]
            self_review = body.get("prevent_self_review", False)
            rules.append({"type": "required_reviewers", "reviewers": reviewers, "prevent_self_review": self_review})
        self.things[f"environment {name}"] = {
            "name": name,
            "protection_rules": rules,
            "deployment_branch_policy": body.get("deployment_branch_policy"),
            "can_admins_bypass": body.get("can_admins_bypass", True),
        }
        return self.things[f"environment {name}"]

    def add_branch(self, name: str, body: Json) -> Json:
        self.things.setdefault(f"branches {name}", []).append(body | {"id": next(self.state.ids)})
        return body

    def delete_branch(self, name: str, number: str) -> Json:
        kept = [one for one in self.things[f"branches {name}"] if str(one["id"]) != number]
        self.things[f"branches {name}"] = kept
        return None

    def set_variable(self, of: str, body: Json) -> Json:
        self.things[f"{of} {body['name']}"] = body
        return {}

    def delete_variable(self, of: str, name: str) -> Json:
        del self.things[f"{of} {name}"]

    def set_ruleset(self, number: str, body: Json) -> Json:
        rules = [one | {"parameters": one.get("parameters", {}) | {"of_github": True}} for one in body["rules"]]
        self.things.setdefault("rulesets", {})[number] = body | {"id": int(number), "rules": rules}
        return self.things["rulesets"][number]


class GitLab:
    """One project in a group, with what its maintainers set."""

    def __init__(self, state: State) -> None:
        self.state, self.things = state, state.things
        self.name = REPOSITORY
        self.things["project"] = {
            "ci_id_token_sub_claim_components": ["project_path", "ref_type", "ref"],
            "ci_pipeline_variables_minimum_override_role": "developer",
            "allow_pipeline_trigger_approve_deployment": False,
            "ci_forward_deployment_enabled": True,
            "ci_forward_deployment_rollback_allowed": True,
            "only_allow_merge_if_pipeline_succeeds": False,
            "allow_merge_on_skipped_pipeline": None,
        }
        self.things["approvals"] = {"merge_requests_author_approval": True, "reset_approvals_on_push": False}
        levels = [{"id": 1, "access_level": 40, "user_id": None, "group_id": None}]
        self.things["protected branches"] = {
            "main": {"name": "main", "push_access_levels": levels, "allow_force_push": False}
        }

    def routes(self) -> dict[str, Callable[..., Json]]:
        here = f"/api/v4/projects/{self.name}"
        return {
            "GET /api/v4/projects/[^/]+/[^/]+": self.project,  # a name of before leads here
            "GET /api/v4/groups/(.+)/protected_environments": lambda name: self.things.get(f"of {name}", []),
            "GET /api/v4/groups/(acme|acme/.+)": lambda name: {"id": sum(map(ord, name))},
            "GET /api/v4/users": lambda query: [],
            f"PUT {here}": self.set_project,
            f"GET {here}/approvals": lambda: self.things["approvals"],
            f"POST {here}/approvals": lambda body: self.things["approvals"].update(body) or {},
            f"GET {here}/approval_rules": lambda: self.things.get("rules", []),
            f"POST {here}/approval_rules": lambda body: self.things.setdefault("rules", []).append(body) or {},
            f"GET {here}/variables": lambda: list(self.things.get("variables", {}).values()),
            f"(?:POST|PUT) {here}/variables(?:/.+)?": self.set_variable,
            f"GET {here}/environments": lambda query: [
                one for one in self.things.get("environments", []) if one["name"] == query["name"]
            ],
            f"POST {here}/environments": lambda body: self.add("environments", body),
            f"PUT {here}/environments/(.+)": self.set_environment,
            f"GET {here}/protected_(.+)": lambda what: list(self.things.get(f"protected {what}", {}).values()),
            f"POST {here}/protected_(.+)": self.protect,
            f"PATCH {here}/protected_branches/main": self.set_branch,
            f"DELETE {here}/protected_(tags|environments)/(.+)": self.unprotect,
            f"GET {here}/repository/files/(.+)/raw": self.file,
        }

    def project(self) -> Json:
        return self.things["project"] | {"path_with_namespace": self.name, "namespace": {"kind": "group"}}

    def set_project(self, body: Json) -> Json:
        self.things["project"].update(body)
        return self.project()

    def set_variable(self, body: Json) -> Json:
        self.things.setdefault("variables", {})[f"{body['key']} {body['environment_scope']}"] = body
        return body

    def add(self, what: str, body: Json) -> Json:
        self.things.setdefault(what, []).append(body | {"id": next(self.state.ids)})
        return body

    def set_environment(self, number: str, body: Json) -> Json:
        next(one for one in self.things["environments"] if str(one["id"]) == number).update(body)
        return body

    def protect(self, what: str, body: Json) -> Json:
        fields = {"environments": "deploy_access_levels", "tags": "create_access_levels"}
        given = body.get("deploy_access_levels", body.get("allowed_to_create", []))
        # GitLab names a level beside each group and user.
        levels = [{"access_level": 40, "user_id": None, "group_id": None} | one for one in given]
        self.things.setdefault(f"protected {what}", {})[body["name"]] = {"name": body["name"], fields[what]: levels}
        return body

    def unprotect(self, what: str, name: str) -> Json:
        del self.things[f"protected {what}"][name]

    def set_branch(self, body: Json) -> Json:
        branch = self.things["protected branches"]["main"]
        gone = {one["id"] for one in body["allowed_to_push"] if one.get("_destroy")}
        kept = [one for one in branch["push_access_levels"] if one["id"] not in gone]
        new = [one | {"id": next(self.state.ids)} for one in body["allowed_to_push"] if not one.get("_destroy")]
        branch.update({name: value for name, value in body.items() if name != "allowed_to_push"})
        branch["push_access_levels"] = [*kept, *new]
        return branch

    def file(self, path: str) -> Json:
        if f"file {path}" not in self.things:
            raise missing(path)
        return self.things[f"file {path}"]


class AzureDevOps:
    """One project with one repository, with what its administrators set, and another project."""

    def __init__(self, state: State) -> None:
        self.state, self.things = state, state.things
        self.things["projects"] = [{"id": "project-1", "name": "Risk"}, {"id": "project-2", "name": "Other"}]

    def routes(self) -> dict[str, Callable[..., Json]]:
        here, of_all = "/acme/Risk/_apis", "/acme/_apis"
        checks, permissions = f"{here}/pipelines/checks/configurations", f"{here}/pipelines/pipelinePermissions/(.+)"
        return {
            f"GET {of_all}/connectionData": lambda: {"instanceId": "organization-id"},
            f"GET {of_all}/projects": lambda: {"value": self.things["projects"]},
            f"GET {of_all}/projects/project-1/teams/(.+)": lambda name: {"id": f"team-{name}"},
            f"GET {here}/git/repositories/fraud": lambda: {"id": "repository-1", "project": self.things["projects"][0]},
            f"GET {here}/build/definitions": lambda query: self.named("pipelines", query["name"]),
            "GET /acme/Other/_apis/build/definitions": lambda: {"value": self.things.get("of another project", [])},
            f"POST {here}/pipelines": self.make_pipeline,
            f"GET {here}/distributedtask/variablegroups": lambda query: self.named("variables", query["groupName"]),
            f"POST {of_all}/distributedtask/variablegroups": lambda body: self.add("variables", body),
            f"PUT {of_all}/distributedtask/variablegroups/(.+)": lambda number, body: self.set(
                "variables", number, body
            ),
            f"GET {here}/distributedtask/environments": lambda query: self.named("environments", query["name"]),
            f"POST {here}/distributedtask/environments": lambda body: self.add("environments", body),
            f"GET {checks}": self.checks,
            f"POST {checks}": lambda body: self.add("checks", body),
            f"PATCH {checks}/(.+)": lambda number, body: self.set("checks", number, body),
            f"GET {permissions}": lambda what: self.things.get(f"may use {what}", {"pipelines": []}),
            f"PATCH {permissions}": lambda what, body: self.things.update({f"may use {what}": body}) or {},
            f"GET {here}/policy/configurations": lambda: {"value": self.things.get("policies", [])},
            f"POST {here}/policy/configurations": lambda body: self.add("policies", body),
            f"PUT {here}/policy/configurations/(.+)": lambda number, body: self.set("policies", number, body),
            f"GET {here}/build/generalsettings": lambda: self.things.get("settings", {}),
            f"PATCH {here}/build/generalsettings": lambda body: (
                self.things.setdefault("settings", {}).update(body) or {}
            ),
        }

    def named(self, what: str, name: str) -> Json:
        return {"value": [one for one in self.things.get(what, []) if one["name"] == name]}

    def add(self, what: str, body: Json) -> Json:
        self.things.setdefault(what, []).append(body | {"id": next(self.state.ids)})
        return self.things[what][-1]

    def set(self, what: str, number: str, body: Json) -> Json:
        next(one for one in self.things[what] if str(one["id"]) == number).update(body)
        return body

    def make_pipeline(self, body: Json) -> Json:
        triggers = [{"triggerType": "continuousIntegration", "settingsSourceType": 2}]
        return self.add("pipelines", {"name": body["name"], "path": body["folder"], "triggers": triggers})

    def checks(self, query: Json) -> Json:
        asked = {"type": query["resourceType"], "id": query["resourceId"]}
        return {"value": [one for one in self.things.get("checks", []) if one["resource"] == asked]}


class Services(ThreadingHTTPServer):
    """Answers for all of them, and notes what changes something."""

    daemon_threads = True

    def __init__(self, provider: Callable[[State], Any]) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.state = State()
        self.databricks, self.provider = Databricks(self.state), provider(self.state)
        self.lock = Lock()
        self.changes: list[str] = []
        self.requests: list[str] = []
        self.on_change: Callable[[], None] | None = None  # called after each, before it is answered

    def address(self, host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.server_port}"


class Answer(BaseHTTPRequestHandler):
    server: Services
    protocol_version = "HTTP/1.1"

    def answer(self) -> None:
        url = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        content = self.content()
        body = json.loads(content) if content else None
        asked = f"{self.command} {url.path}"
        with self.server.lock:
            self.server.requests.append(asked)
            try:
                status, found = 200, self.find(asked, query, body)
            except RefusedError as error:
                code = {404: "RESOURCE_DOES_NOT_EXIST", 403: "PERMISSION_DENIED", 401: "UNAUTHENTICATED"}
                status, found = error.status, {"error_code": code.get(error.status), "message": str(error)}
            changed = self.command != "GET" and status == 200
            if changed:
                self.server.changes.append(asked)
        if changed and self.server.on_change:
            self.server.on_change()
        data = b"" if found is None else found.encode() if isinstance(found, str) else json.dumps(found).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        workspace = WORKSPACES.get(self.headers.get("Host", "").split(":")[0])
        self.send_header("X-Databricks-Org-Id", str(workspace))
        self.end_headers()
        self.wfile.write(data)

    def content(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        chunks = b""  # as `gh` sends what it reads from its input
        while length := int(self.rfile.readline(), 16):
            chunks += self.rfile.read(length)
            self.rfile.readline()
        self.rfile.readline()
        return chunks

    def find(self, asked: str, query: Json, body: Json) -> Json:
        known = "GET /.well-known/databricks-config"
        of_databricks = "/api/2." in asked or asked == known
        if asked != known and of_databricks and self.headers.get("Authorization") != f"Bearer {TOKEN}":
            raise RefusedError(401, "Credential was not sent or was invalid")
        for route, function in (self.server.databricks if of_databricks else self.server.provider).routes().items():
            if match := re.fullmatch(route, unquote(asked)):
                names = function.__code__.co_varnames[: function.__code__.co_argcount]
                further = {name: value for name, value in (("query", query), ("body", body)) if name in names}
                return function(*match.groups(), **further)
        raise missing(asked)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = answer  # noqa: N815 - names of the base class

    def log_message(self, *_: Any) -> None:
        """Say nothing."""
