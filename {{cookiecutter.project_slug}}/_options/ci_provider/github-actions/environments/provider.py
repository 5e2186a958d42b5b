"""GitHub: which jobs an identity trusts, environments with reviewers, rules for branches and tags, CODEOWNERS."""

import base64
import re
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

from .findings import MISSING, TOO_MUCH, Change, Finding, Findings, Service, SetUpError, check, git
from .identities import Identity

# What decides what a release does and with which rights; the rest is for every reviewer.
OWNED = "/.github/ /databricks.yml /environments/ /hatch_build.py /pyproject.toml /resources/ /uv.lock".split()
CODE_OWNERS = Path(".github/CODEOWNERS")
PULL_REQUEST = "pull-request"
MAY_DEPLOY = {("main", "branch"), ("v*", "tag")}
CHECKS = ("Code", "Bundle of dev", "Bundle of staging", "Bundle of prod")
REVIEWED = {
    "required_approving_review_count": 1,
    "dismiss_stale_reviews_on_push": True,
    "require_code_owner_review": True,
    "require_last_push_approval": True,
    "required_review_thread_resolution": False,
}


def add_options(parser: ArgumentParser) -> None:
    for option, what in (
        ("--reviewers", "approves for prod"),
        ("--releasers", "may push version tags"),
        ("--owners", "reviews changes of the pipelines"),
    ):
        people = f"who {what}: teams as <organization>/<team>, users by login"
        parser.add_argument(option, nargs="+", default=[], metavar="WHO", help=people)


class Provider:
    """The repository that `origin` names, as an admin of it sees it through `gh`."""

    def __init__(self, arguments: Namespace, bundles: dict[str, dict[str, Any]], account: str) -> None:
        self.arguments, self.target, self.account = arguments, arguments.target, account
        # In dev people deploy, and CI only where the last tests before a release run there.
        in_ci = self.target != "dev" or bool(bundles["staging"]["var"].get("source_model"))
        self.roles = [PULL_REQUEST, self.target] if in_ci else [PULL_REQUEST]
        origin = git("remote", "get-url", "origin")
        match = re.search(r"(?:@|//)(?:[^@/]+@)?([^/:]+)(?::\d+)?[:/](.+?)(?:\.git)?/?$", origin)
        if match is None:
            raise SetUpError(f"`git remote get-url origin` says {origin}, which is no repository on GitHub.")
        self.host = match[1].removeprefix("ssh.")
        self.gh = Service(("gh", "api", "--hostname", self.host))
        found = self.gh.get(f"repos/{match[2]}")
        if found is None:
            raise SetUpError(f"{origin} does not exist, or `gh auth status` names somebody who may not see it.")
        self.repository: str = found["full_name"]  # of today: a remote may still have the name before a renaming
        self.path = f"repos/{self.repository}"

    def deployer(self, identities: dict[str, Identity]) -> str | None:
        return identities[self.target].application_id if self.target in identities else None

    def policies(self, role: str) -> list[dict[str, Any]]:
        """Return which tokens of GitHub an identity accepts."""
        subject = self.gh.get(f"{self.path}/actions/oidc/customization/sub") or {}
        # Repositories since July 2026 have ids in it, so that nobody gets it who takes over a name.
        prefix = subject.get("sub_claim_prefix") or f"repo:{self.repository}"
        suffix = "pull_request" if role == PULL_REQUEST else f"environment:{role}"
        return [{"issuer": self._issuer(), "audiences": [self.account], "subject": f"{prefix}:{suffix}"}]

    def _issuer(self) -> str:
        if self.host == "github.com" or self.host.endswith(".ghe.com"):
            domain = "githubusercontent.com" if self.host == "github.com" else self.host
            return f"https://token.actions.{domain}"
        return f"https://{self.host}/_services/token"

    def findings(self, identities: dict[str, Identity]) -> Findings:
        subject = self.gh.get(f"{self.path}/actions/oidc/customization/sub") or {"use_default": True}
        default = self.gh.change("PUT", f"{self.path}/actions/oidc/customization/sub", body={"use_default": True})
        yield check(subject["use_default"], "subjects of tokens as GitHub makes them", default, state=TOO_MUCH)
        yield from self._variable(f"{self.path}/actions", "DATABRICKS_PR_CLIENT_ID", identities[PULL_REQUEST])
        if self.target in identities:
            path = f"{self.path}/environments/{self.target}"
            yield from self._environment(path)
            yield from self._variable(path, "DATABRICKS_CLIENT_ID", identities[self.target])
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
        for name, kind in sorted(MAY_DEPLOY):
            create = self.gh.change("POST", f"{path}/deployment-branch-policies", body={"name": name, "type": kind})
            yield check((name, kind) in there, f"{kind} {name} may deploy to {self.target}", create)
        for name, kind in sorted(set(there) - MAY_DEPLOY):
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
            ("reviewed code", "branch", "refs/heads/main", reviewed()),
            ("version tags stay", "tag", "refs/tags/v*", [{"type": "update"}, {"type": "deletion"}]),
            ("version tags are made by releasers", "tag", "refs/tags/v*", [{"type": "creation"}]),
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
        """Check who has to review the pipelines: the last lines of the file, because a later line wins."""
        local = CODE_OWNERS.read_text(encoding="utf-8") if CODE_OWNERS.exists() else ""
        answer = self.gh.get(f"{self.path}/contents/{CODE_OWNERS.as_posix()}?ref=main")
        merged = base64.b64decode(answer["content"]).decode() if answer else ""
        owners = self.arguments.owners
        wanted = [f"{path} {' '.join(f'@{name}' for name in owners)}" for path in OWNED]

        def owned(text: str) -> bool:
            last = text.splitlines()[-len(OWNED) :]
            anybody = [re.sub(r"( @\S+)+$", " ", line) for line in last] == [f"{path} " for path in OWNED]
            return last == wanted if owners else anybody

        def write() -> None:
            kept = [line for line in local.splitlines() if not line.startswith(tuple(f"{path} " for path in OWNED))]
            CODE_OWNERS.write_text("\n".join([*kept, *wanted, ""]), encoding="utf-8")

        if owned(merged):
            errors = (self.gh.get(f"{self.path}/codeowners/errors?ref=main") or {}).get("errors", [])
            first = errors[0]["message"] if errors else ""
            yield check(not errors, f"{CODE_OWNERS.as_posix()} of main {first}".strip(), Change("Correct the file."))
            return
        if not owned(local):
            how = Change(f"Write {', '.join(wanted)} at the end of {CODE_OWNERS.as_posix()}", write)
            ask = Change("Say who reviews changes of the pipelines: --owners <organization>/<team>")
            yield Finding(MISSING, f"{CODE_OWNERS.as_posix()} in this folder", (how if owners else ask,))
        merge = Change(f"Commit {CODE_OWNERS.as_posix()} and merge it by a pull request.")
        yield Finding(MISSING, f"{CODE_OWNERS.as_posix()} of main", (merge,))


def reviewed() -> list[dict[str, Any]]:
    """Return the rules of the branch that releases come from."""
    checks = [{"context": name} for name in CHECKS]
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
