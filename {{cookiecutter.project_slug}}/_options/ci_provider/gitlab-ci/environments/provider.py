"""GitLab: which jobs an identity trusts, the environment that waits for approvers, rules for branches and tags."""

from argparse import Namespace
from pathlib import Path
from typing import Any
from urllib.parse import quote

from . import FOLDER, TAGS, UNIT
from .code_owners import code_owners
from .findings import MISSING, TOO_MUCH, Change, Finding, Findings, Service, SetUpError, check, origin
from .identities import Identity

CODE_OWNERS = Path(".gitlab/CODEOWNERS")
MERGE_REQUEST = "merge-request"
TIERS = {"dev": "development", "staging": "staging", "prod": "production"}
# A project of GitLab has one of each name.
MR_CLIENT_ID = f"{UNIT.upper().replace('-', '_')}DATABRICKS_MR_CLIENT_ID"
NOBODY, DEVELOPERS, MAINTAINERS = 0, 30, 40
PROJECT = {
    "ci_id_token_sub_claim_components": ["project_path", "ref_protected", "environment_protected", "deployment_tier"],
    # Else whoever starts a pipeline could choose another identity, or that nobody has to approve.
    "ci_pipeline_variables_minimum_override_role": "no_one_allowed",
    "allow_pipeline_trigger_approve_deployment": False,
    "ci_forward_deployment_enabled": True,
    "ci_forward_deployment_rollback_allowed": True,
    "only_allow_merge_if_pipeline_succeeds": True,
    "allow_merge_on_skipped_pipeline": False,
}
APPROVALS = {
    "merge_requests_author_approval": False,
    "merge_requests_disable_committers_approval": True,
    "reset_approvals_on_push": True,
    "disable_overriding_approvers_per_merge_request": True,
}


WHO = "groups by their path, users by their name"
OPTIONS = {
    "--reviewers": f"who approves for prod: {WHO}",
    "--releasers": f"who may push version tags, maintainers if not given: {WHO}",
    "--owners": f"who reviews changes of the pipelines: {WHO}",
}


class Provider:
    """The project that `origin` names, as a maintainer of it sees it through `glab`."""

    def __init__(self, arguments: Namespace, account: str) -> None:
        self.arguments, self.target, self.account = arguments, arguments.target, account
        self.roles, self.deployers = (MERGE_REQUEST, self.target), list[str]()
        self.host, name = origin()
        body = ("--header", "Content-Type: application/json", "--input", "-")
        self.glab = Service(("glab", "api", "--hostname", self.host), body)
        self.project = self.glab.get(f"projects/{quote(name, safe='')}")
        if self.project is None:
            raise SetUpError(f"{name} does not exist, or `glab auth status` names somebody who may not see it.")
        self.name: str = self.project["path_with_namespace"]  # of today: a remote may have the one before a renaming
        self.path = f"projects/{quote(self.name, safe='')}"

    def before(self) -> Findings:
        yield from self._settings("the project", "PUT", self.path, self.project, PROJECT)

    def policies(self, role: str) -> list[dict[str, Any]]:
        """Return which tokens of GitLab an identity accepts."""
        policy: dict[str, Any] = {"issuer": f"https://{self.host}", "audiences": [self.account]}
        if role == MERGE_REQUEST:  # on branches of any name, without an environment
            return [policy | {"subject_claim": "project_path", "subject": self.name}]
        # A job writes the tier itself. That its environment is protected it can only get by naming prod, as long as no
        # other one is, and there GitLab asks who may deploy.
        protected = "true" if role == "prod" else "false"
        claims = ("project_path", self.name), ("ref_protected", "true"), ("environment_protected", protected)
        subject = ":".join(f"{name}:{value}" for name, value in (*claims, ("deployment_tier", TIERS[role])))
        return [policy | {"subject": subject}]

    def findings(self, identities: dict[str, Identity]) -> Findings:
        approvals = f"{self.path}/approvals"
        yield from self._settings("approvals", "POST", approvals, self.glab.get(approvals) or {}, APPROVALS)
        rules = self.glab.get(f"{self.path}/approval_rules?per_page=100") or []
        one = {"name": "All Members", "rule_type": "any_approver", "approvals_required": 1}
        create = self.glab.change("POST", f"{self.path}/approval_rules", body=one)
        needs_one = any(rule["approvals_required"] > 0 for rule in rules)
        yield check(needs_one, "a merge request needs an approval", create)
        yield from self._variables(identities)
        yield from self._environments(identities)
        yield from self._branches_and_tags()
        file = quote(CODE_OWNERS.as_posix(), safe="")
        answer = self.glab.get(f"{self.path}/repository/files/{file}/raw?ref=main")
        first = [f"[{UNIT}release]", "/.gitlab-ci.yml", f"/{FOLDER}.gitlab/"]
        yield from code_owners(CODE_OWNERS, first, self.arguments.owners, answer or "")

    def _settings(self, of: str, method: str, path: str, found: dict[str, Any], wanted: dict[str, Any]) -> Findings:
        wrong = {name: value for name, value in wanted.items() if found.get(name) != value}
        listed = ", ".join(f"{name} is {found.get(name)}" for name in wrong)
        what = f"settings of {of}" + (f": {listed}" if wrong else "")
        yield check(not wrong, what, self.glab.change(method, path, body=wrong))

    def _variables(self, identities: dict[str, Identity]) -> Findings:
        path = f"{self.path}/variables"
        found = {(v["key"], v["environment_scope"]): v for v in self.glab.get(f"{path}?per_page=100") or []}
        wanted = [("DATABRICKS_ACCOUNT_ID", "*", self.account)]
        wanted += [(MR_CLIENT_ID, "*", identities[MERGE_REQUEST].application_id)]
        if self.target in identities:
            wanted += [("DATABRICKS_CLIENT_ID", f"{UNIT}{self.target}", identities[self.target].application_id)]
        for name, scope, value in wanted:
            body = {"key": name, "value": value, "environment_scope": scope, "protected": scope != "*"}
            there = found.get((name, scope), {})
            one = f"{path}/{name}?filter[environment_scope]={scope}"
            change = self.glab.change("PUT", one, body=body) if there else self.glab.change("POST", path, body=body)
            met = (there.get("value"), there.get("protected")) == (value, scope != "*")
            yield check(met, f"variable {name} for {scope}", change)
        for name, scope in found:
            if name == "APPROVAL_REQUIRED":
                delete = self.glab.change("DELETE", f"{path}/{name}?filter[environment_scope]={scope}")
                what = f"variable {name} for {scope}: a release may go on without an approval"
                yield Finding(TOO_MUCH, what, (Change(delete.text),))  # set by somebody who means it

    def _environments(self, identities: dict[str, Identity]) -> Findings:
        if self.target in identities:
            name, path = f"{UNIT}{self.target}", f"{self.path}/environments"
            body = {"name": name, "tier": TIERS[self.target]}
            found = self.glab.get(f"{path}?name={name}") or [{}]
            create = self.glab.change("POST", path, body=body)
            change = self.glab.change("PUT", f"{path}/{found[0]['id']}", body=body) if found[0] else create
            yield check(found[0].get("tier") == body["tier"], f"environment {name}, {body['tier']}", change)
        path, prod = f"{self.path}/protected_environments", f"{UNIT}prod"
        protected = {one["name"]: one for one in self.glab.get(f"{path}?per_page=100") or []}
        for name in protected.keys() - {prod}:
            if UNIT and name.endswith("-prod"):  # of another project here
                continue
            delete = self.glab.change("DELETE", f"{path}/{quote(name, safe='')}")
            what = f"protected environment {name}: a job in it could claim to be in production"
            yield Finding(TOO_MUCH, what, (delete,))
        yield from self._of_groups()
        asked = [self._who(name) for name in self.arguments.reviewers]
        levels = [self._short(level) for level in protected.get(prod, {}).get("deploy_access_levels", [])]
        people = [level for level in levels if "access_level" not in level]
        right = levels == people and bool(levels) if not asked else same(levels, asked)
        changes = [self.glab.change("POST", path, body={"name": prod, "deploy_access_levels": asked or people})]
        if prod in protected:  # in between nobody can be prod: its tokens say that it is not protected
            changes.insert(0, self.glab.change("DELETE", f"{path}/{prod}"))
        if not (asked or people):
            changes = [Change("Say who approves: --reviewers <group>")]
        what = f"protected environment {prod}, where named people or groups alone may deploy"
        yield check(right, what, *changes, state=TOO_MUCH if prod in protected else MISSING)

    def _of_groups(self) -> Findings:
        """Check that no group above the project protects a tier: that would protect environments here as well."""
        parts = self.name.split("/")[:-1] if self.project.get("namespace", {}).get("kind") == "group" else []
        for number in range(1, len(parts) + 1):
            group = "/".join(parts[:number])
            path = f"groups/{quote(group, safe='')}/protected_environments"
            try:
                found = self.glab.get(path) or []
            except SetUpError as error:
                yield Finding(MISSING, f"protected environments of {group}: {error}", (Change("Ask an owner of it."),))
                continue
            for one in found:
                if one["name"] != "production":
                    delete = self.glab.change("DELETE", f"{path}/{quote(one['name'], safe='')}")
                    what = f"{group} protects {one['name']}: a job in it could claim to be in production"
                    yield Finding(TOO_MUCH, what, (Change(delete.text),))  # other projects may need it

    def _branches_and_tags(self) -> Findings:
        path = f"{self.path}/protected_branches"
        found = {one["name"]: one for one in self.glab.get(f"{path}?per_page=100") or []}
        main = found.get("main", {})
        rules = {"allow_force_push": False, "code_owner_approval_required": True}
        pushes = [self._short(level) for level in main.get("push_access_levels", [])]
        met = pushes == [{"access_level": NOBODY}] and all(main.get(name) == value for name, value in rules.items())
        if main:
            destroy = [{"id": level["id"], "_destroy": True} for level in main["push_access_levels"]]
            body: Any = rules | {"allowed_to_push": [*destroy, {"access_level": NOBODY}]}
            change = self.glab.change("PATCH", f"{path}/main", body=body)
        else:
            body = rules | {"name": "main", "push_access_level": NOBODY, "merge_access_level": DEVELOPERS}
            change = self.glab.change("POST", path, body=body)
        yield check(met, "main: nobody pushes, owners of the code approve", change, state=TOO_MUCH if main else MISSING)

        tags = {one["name"]: one for one in self.glab.get(f"{self.path}/protected_tags?per_page=100") or []}
        path = f"{self.path}/protected_tags"
        asked = [self._who(name) for name in self.arguments.releasers] or [{"access_level": MAINTAINERS}]
        makers = [self._short(level) for level in tags.get(TAGS, {}).get("create_access_levels", [])]
        changes = [self.glab.change("POST", path, body={"name": TAGS, "allowed_to_create": asked})]
        if TAGS in tags:  # in between tags are not protected, and release nothing
            changes.insert(0, self.glab.change("DELETE", f"{path}/{quote('v*', safe='')}"))
        what = f"tags {TAGS}: releasers alone may make them, nobody may move or delete them"
        yield check(same(makers, asked), what, *changes, state=TOO_MUCH if TAGS in tags else MISSING)
        others = {name for name in tags if name != TAGS and not (UNIT and name.endswith("/v*"))}
        for kind, names in (("branch", found.keys() - {"main"}), ("tag", others)):
            for name in names:
                what = f"protected {kind} {name}: its jobs may log in as those of main"
                yield Finding(TOO_MUCH, what, (Change("Unprotect it under Settings, Repository."),))

    def _who(self, name: str) -> dict[str, Any]:
        group = self.glab.get(f"groups/{quote(name, safe='')}")
        users = [] if group else self.glab.get(f"users?username={quote(name)}")
        if not group and not users:
            raise SetUpError(f"GitLab knows no group and no user {name}.")
        return {"group_id": group["id"]} if group else {"user_id": users[0]["id"]}

    def _short(self, level: dict[str, Any]) -> dict[str, Any]:
        """Return what a rule of GitLab says about who: it also names the level that people or groups have."""
        for name in ("user_id", "group_id", "deploy_key_id"):
            if level.get(name):
                return {name: level[name]}
        return {"access_level": level.get("access_level")}


def same(some: list[dict[str, Any]], others: list[dict[str, Any]]) -> bool:
    return sorted(some, key=str) == sorted(others, key=str)
