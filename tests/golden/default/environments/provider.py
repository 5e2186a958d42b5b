"""GitHub: which jobs an identity trusts, environments with reviewers, rules for branches and tags, CODEOWNERS."""

import base64
from argparse import Namespace
from pathlib import Path
from typing import Any

from . import TAGS, UNIT
from .code_owners import code_owners
from .findings import MISSING, TOO_MUCH, Change, Finding, Findings, Service, SetUpError, check, origin
from .identities import Identity

CODE_OWNERS = Path(".github/CODEOWNERS")
PULL_REQUEST = "pull-request"
MAIN, VERSIONS = ("main", "branch"), (TAGS, "tag")
CHECKS = ("Code", "Bundle of dev", "Bundle of staging", "Bundle of prod")
# A repository has one of each name.
PR_CLIENT_ID = f"{UNIT.upper().replace('-', '_')}DATABRICKS_PR_CLIENT_ID"
REVIEWED = {
    "required_approving_review_count": 1,
    "dismiss_stale_reviews_on_push": True,
    "require_code_owner_review": True,
    "require_last_push_approval": True,
    "required_review_thread_resolution": False,
}


WHO = "teams as <organization>/<team>, users by their login"
OPTIONS = {
    "--reviewers": f"who approves for prod: {WHO}",
    "--releasers": f"who may push version tags: {WHO}",
    "--owners": f"who reviews changes of the pipelines: {WHO}",
}


class Provider:
    """The repository that `origin` names, as an admin of it sees it through `gh`."""

    def __init__(self, arguments: Namespace, account: str) -> None:
        self.arguments, self.target, self.account = arguments, arguments.target, account
        self.roles, self.deployers = (PULL_REQUEST, self.target), list[str]()
        host, name = origin()
        self.host = host.removeprefix("ssh.")
        self.gh = Service(("gh", "api", "--hostname", self.host))
        found = self.gh.get(f"repos/{name}")
        if found is None:
            raise SetUpError(f"{name} does not exist, or `gh auth status` names somebody who may not see it.")
        self.repository: str = found["full_name"]  # of today: a remote may still have the name before a renaming
        self.path = f"repos/{self.repository}"
        self.subject = self.gh.get(f"{self.path}/actions/oidc/customization/sub") or {"use_default": True}

    def before(self) -> Findings:
        change = self.gh.change("PUT", f"{self.path}/actions/oidc/customization/sub", body={"use_default": True})
        yield check(self.subject["use_default"], "subjects of tokens as GitHub makes them", change, state=TOO_MUCH)

    def policies(self, role: str) -> list[dict[str, Any]]:
        """Return which tokens of GitHub an identity accepts."""
        # Repositories since July 2026 have ids in it, so that nobody gets it who takes over a name.
        prefix = self.subject.get("sub_claim_prefix") or f"repo:{self.repository}"
        suffix = "pull_request" if role == PULL_REQUEST else f"environment:{UNIT}{role}"
        return [{"issuer": self._issuer(), "audiences": [self.account], "subject": f"{prefix}:{suffix}"}]

    def _issuer(self) -> str:
        if self.host == "github.com" or self.host.endswith(".ghe.com"):
            domain = "githubusercontent.com" if self.host == "github.com" else self.host
            return f"https://token.actions.{domain}"
        return f"https://{self.host}/_services/token"

    def findings(self, identities: dict[str, Identity]) -> Findings:
        yield from self._variable(f"{self.path}/actions", PR_CLIENT_ID, identities[PULL_REQUEST])
        if self.target in identities:
            path = f"{self.path}/environments/{UNIT}{self.target}"
            yield from self._environment(path)
            yield from self._variable(path, "DATABRICKS_CLIENT_ID", identities[self.target])
            if self.gh.get(f"{path}/variables/APPROVAL_REQUIRED"):
                delete = self.gh.change("DELETE", f"{path}/variables/APPROVAL_REQUIRED")
                what = f"variable APPROVAL_REQUIRED of {self.target}: a release may go on without an approval"
                yield Finding(TOO_MUCH, what, (Change(delete.text),))  # set by somebody who means it
        yield from self._rules()
        yield from self._code_owners()

    def _variable(self, path: str, name: str, identity: Identity) -> Findings:
        found = self.gh.get(f"{path}/variables/{name}")
        body = {"name": name, "value": identity.application_id}
        create = self.gh.change("POST", f"{path}/variables", body=body)
        update = self.gh.change("PATCH", f"{path}/variables/{name}", body=body)
        right = found is not None and found["value"] == identity.application_id
        yield check(right, f"variable {path.removeprefix(self.path)}/{name}", update if found else create)

    def _environment(self, path: str) -> Findings:
        found = self.gh.get(path) or {}
        rules = {rule["type"]: rule for rule in found.get("protection_rules", [])}
        branches = {"protected_branches": False, "custom_branch_policies": True}
        reviewing = rules.get("required_reviewers", {})
        reviewers = [{"type": one["type"], "id": one["reviewer"]["id"]} for one in reviewing.get("reviewers", [])]
        wrong = []
        if found.get("deployment_branch_policy") != branches:
            wrong.append("any branch may deploy")
        if found.get("can_admins_bypass") is not False:
            wrong.append("admins may bypass it")
        body: dict[str, Any] = {
            "wait_timer": rules.get("wait_timer", {}).get("wait_timer", 0),
            "deployment_branch_policy": branches,
            "can_admins_bypass": False,
            "reviewers": reviewers or None,
        }
        if self.target == "prod":
            asked = [self._who(name) for name in self.arguments.reviewers]
            if not reviewers or (asked and sorted(asked, key=str) != sorted(reviewers, key=str)):
                wrong.append("its reviewers are missing" if not reviewers else "it has other reviewers")
            if not reviewing.get("prevent_self_review"):
                wrong.append("who starts a release may approve it")
            body |= {"reviewers": asked or reviewers, "prevent_self_review": True}
            if not body["reviewers"]:
                say = Change("Say who approves: --reviewers <organization>/<team>")
                yield Finding(MISSING, "environment prod with reviewers", (say,))
                return
        what = f"environment {self.target}" + (f": {', '.join(wrong)}" if found and wrong else "")
        state = TOO_MUCH if found else MISSING
        yield check(bool(found) and not wrong, what, self.gh.change("PUT", path, body=body), state=state)

        policies = (self.gh.get(f"{path}/deployment-branch-policies?per_page=100") or {}).get("branch_policies", [])
        there = {(one["name"], one.get("type", "branch")): one["id"] for one in policies}
        # What reaches prod starts from main's own workflows, which nobody changes by pushing a tag.
        may_deploy = {MAIN} if self.target == "prod" else {MAIN, VERSIONS}
        for name, kind in sorted(may_deploy):
            create = self.gh.change("POST", f"{path}/deployment-branch-policies", body={"name": name, "type": kind})
            yield check((name, kind) in there, f"{kind} {name} may deploy to {self.target}", create)
        for name, kind in sorted(set(there) - may_deploy):
            delete = self.gh.change("DELETE", f"{path}/deployment-branch-policies/{there[name, kind]}")
            yield Finding(TOO_MUCH, f"{kind} {name} may deploy to {self.target}", (delete,))

    def _who(self, name: str) -> dict[str, Any]:
        organization, _, team = name.partition("/")
        found = self.gh.get(f"orgs/{organization}/teams/{team}" if team else f"users/{name}")
        if found is None:
            raise SetUpError(f"GitHub knows no {'team' if team else 'user'} {name}.")
        return {"type": "Team" if team else "User", "id": found["id"]}

    def _rules(self) -> Findings:
        """Check the rulesets. Those of others may ask for more: where several apply, all of them do."""
        by_name = {one["name"]: one["id"] for one in self.gh.get(f"{self.path}/rulesets?per_page=100") or []}
        releasers = [self._who(name) for name in self.arguments.releasers]
        may_tag = [{"actor_type": one["type"], "actor_id": one["id"], "bypass_mode": "always"} for one in releasers]
        for name, target, ref, rules in (
            (f"{UNIT}reviewed code", "branch", "refs/heads/main", reviewed()),
            (f"{UNIT}version tags stay", "tag", f"refs/tags/{TAGS}", [{"type": "update"}, {"type": "deletion"}]),
            (f"{UNIT}version tags are made by releasers", "tag", f"refs/tags/{TAGS}", [{"type": "creation"}]),
        ):
            found = self.gh.get(f"{self.path}/rulesets/{by_name[name]}") if name in by_name else None
            may_bypass = (may_tag or (found or {}).get("bypass_actors", [])) if rules == [{"type": "creation"}] else []
            wanted = {
                "name": name,
                "target": target,
                "enforcement": "active",
                "bypass_actors": may_bypass,
                "conditions": {"ref_name": {"include": [ref], "exclude": []}},
                "rules": rules,
            }
            change = (
                self.gh.change("PUT", f"{self.path}/rulesets/{by_name[name]}", body=wanted)
                if found
                else self.gh.change("POST", f"{self.path}/rulesets", body=wanted)
            )
            if rules == [{"type": "creation"}] and not may_bypass:
                change = Change("Say who may push version tags: --releasers <organization>/<team>")
            met = found is not None and bool(may_bypass or rules != [{"type": "creation"}]) and holds(found, wanted)
            yield check(met, f"ruleset {name}", change, state=TOO_MUCH if found else MISSING)

    def _code_owners(self) -> Findings:
        answer = self.gh.get(f"{self.path}/contents/{CODE_OWNERS.as_posix()}?ref=main")
        merged = base64.b64decode(answer["content"]).decode() if answer else ""
        yield from code_owners(CODE_OWNERS, ["/.github/"], self.arguments.owners, merged)
        # Whom GitHub does not know, or who may not write to the repository, owns nothing.
        errors = (self.gh.get(f"{self.path}/codeowners/errors?ref=main") or {}).get("errors", [])
        what = f"{CODE_OWNERS.as_posix()} as GitHub reads it" + "".join(f": {one['message']}" for one in errors[:1])
        yield check(not errors, what, Change("Correct the file by a pull request."))


def reviewed() -> list[dict[str, Any]]:
    """Return the rules of the branch that releases come from."""
    checks = [{"context": name} for name in ((f"{UNIT}Checked",) if UNIT else CHECKS)]
    required = {"required_status_checks": checks, "strict_required_status_checks_policy": False}
    return [
        {"type": "deletion"},
        {"type": "non_fast_forward"},
        {"type": "pull_request", "parameters": REVIEWED},
        {"type": "required_status_checks", "parameters": required},
    ]


def holds(found: Any, wanted: Any, more: bool = False) -> bool:
    """Return whether all of `wanted` is in `found`: GitHub adds settings of its own, and may ask for more rules."""
    if isinstance(wanted, dict):
        extendable = ("rules", "required_status_checks")
        return isinstance(found, dict) and all(
            found.get(key, 0) >= value
            if key == "required_approving_review_count"
            else holds(found.get(key), value, more=key in extendable)
            for key, value in wanted.items()
        )
    if isinstance(wanted, list):
        enough = isinstance(found, list) and (more or len(found) == len(wanted))
        return enough and all(any(holds(one, value) for one in found) for value in wanted)
    return found == wanted
