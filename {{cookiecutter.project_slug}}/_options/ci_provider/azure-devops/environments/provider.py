"""Azure DevOps: pipelines, which of them an identity trusts, what they may use, approvals, policies of the branch."""

from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

from . import FOLDER, TAGS, UNIT
from .findings import MISSING, TOO_MUCH, Change, Finding, Findings, Service, SetUpError, check, origin
from .identities import Identity
from local.bundle import load_bundle

AZURE_DEVOPS = "499b84ac-1321-427f-aa17-267ca6975798"  # its application, to which `az` logs in
PULL_REQUEST = "pull-request"
TEMPLATE_UPDATE = "template-update"  # runs code of the template, so it logs in nowhere
MAIN = {"refName": "refs/heads/main", "matchKind": "Exact"}
LOCK = {"id": "2ef31ad6-baa0-403a-8b45-2cbc9b4e5563", "name": "ExclusiveLock"}
APPROVAL = {"id": "8c6f20a7-a545-4486-9777-f762fafe0d4d", "name": "Approval"}
TASK = {"id": "fe1de3ee-a436-41b4-bb20-f6eb4cb879a7", "name": "Task Check"}
BRANCHES = {
    "displayName": "main and version tags",
    "definitionRef": {
        "id": "86b05a0c-73e6-4f7d-b3cf-e38f3b39a75b",
        "name": "evaluatebranchProtection",
        "version": "0.0.1",
    },
    "inputs": {"allowedBranches": f"refs/heads/main, refs/tags/{TAGS}", "ensureProtectionOfBranch": "false"},
}
REVIEWERS, REQUIRED, BUILD = (
    "fa4e907d-c16b-4a4c-9dfa-4906e5d171dd",
    "fd2167ab-b0be-447a-8ec8-39368250530e",
    "0609b952-1397-4640-95ec-e00a01b2c241",
)
REVIEWED = {
    "minimumApproverCount": 1,
    "creatorVoteCounts": False,
    "blockLastPusherVote": True,
    "resetOnSourcePush": True,
    "allowDownvotes": False,
}
OPTIONS = {
    "--reviewers": "who approves for prod: names of teams",
    "--owners": "who reviews every change: names of teams",
}


class Provider:
    """The repository that `origin` names, as an admin of its project sees it through `az`."""

    def __init__(self, arguments: Namespace, account: str) -> None:
        self.arguments, self.target = arguments, arguments.target
        self.roles, self.deployers = (PULL_REQUEST, self.target), list[str]()
        _, name = origin()
        parts = name.removeprefix("v3/").replace("/_git/", "/").split("/")
        if len(parts) != 3:
            raise SetUpError(f"`git remote get-url origin` ends with {name}, not with organization/project/_git/name.")
        self.organization = f"https://dev.azure.com/{quote(parts[0])}"
        self.at = f"{self.organization}/{quote(parts[1])}"
        self.az = Service(("az", "rest", "--resource", AZURE_DEVOPS), ("--body", "@-"))
        self.repository = self.get(f"{self.at}/_apis/git/repositories/{quote(parts[2])}")
        if self.repository is None:
            raise SetUpError(f"{name} does not exist, or `az account show` names somebody who may not see it.")
        self.project = self.repository["project"]
        self.slug = load_bundle(Path.cwd(), self.target)["bundle"]["name"]
        self.known: dict[str, dict[str, Any]] = {}
        instance = self.get(f"{self.organization}/_apis/connectionData", version=())
        self.issuer = f"https://vstoken.dev.azure.com/{instance['instanceId']}"

    def get(self, url: str, *parameters: str, version: tuple[str, ...] = ("api-version=7.1-preview",)) -> Any:
        further = ("--uri-parameters", *parameters, *version) if parameters or version else ()
        return self.az.get("--url", url, *further)

    def change(self, method: str, url: str, body: Any) -> Change:
        return self.az.change(method, "--url", url, "--uri-parameters", "api-version=7.1-preview", body=body)

    def pipelines(self, role: str) -> list[str]:
        """Return the pipelines that log in as an identity: the names of their files."""
        files = sorted(path.stem for path in Path("azure-pipelines").glob("*.yml"))
        if role == PULL_REQUEST:
            return [PULL_REQUEST]
        others = [name for name in files if name not in (PULL_REQUEST, TEMPLATE_UPDATE)]
        return [name for name in others if role != "dev" or name == "release-code"]

    def definition(self, name: str) -> dict[str, Any]:
        """Return a pipeline in the folder at the top; a placeholder while it does not exist."""
        if name not in self.known:
            found = self.get(f"{self.at}/_apis/build/definitions", f"name={self.slug}-{name}")["value"]
            self.known.update((name, one) for one in found if one["path"] == "\\")
        return self.known.get(name, {"id": f"<id of {self.slug}-{name}>"})

    def before(self) -> Findings:
        for name in [PULL_REQUEST, *self.pipelines(self.target)]:
            repository = {"id": self.repository["id"], "type": "azureReposGit"}
            configuration = {"type": "yaml", "path": f"{FOLDER}azure-pipelines/{name}.yml"}
            configuration |= {"repository": repository}
            body = {"name": f"{self.slug}-{name}", "folder": "\\", "configuration": configuration}
            exists = isinstance(self.definition(name)["id"], int)
            yield check(exists, f"pipeline {self.slug}-{name}", self.change("POST", f"{self.at}/_apis/pipelines", body))

    def policies(self, role: str) -> list[dict[str, Any]]:
        """Return which tokens of Azure DevOps an identity accepts: by the id of the pipeline, as anybody may make one
        of the same name in another folder."""
        audience = ["api://AzureADTokenExchange"]
        return [
            {"issuer": self.issuer, "audiences": audience, "subject_claim": "def_id", "subject": str(one["id"])}
            for one in map(self.definition, self.pipelines(role))
        ]

    def findings(self, identities: dict[str, Identity]) -> Findings:
        yield from self._others()
        yield from self._triggers()
        yield from self._variables(PULL_REQUEST, identities[PULL_REQUEST])
        if self.target in identities:
            yield from self._variables(self.target, identities[self.target])
            yield from self._environment()
        yield from self._policies()
        path = f"{self.at}/_apis/build/generalsettings"
        wanted = {"enforceSettableVar": True, "enforceJobAuthScope": True}
        wrong = [name for name, value in wanted.items() if (self.get(path) or {}).get(name) != value]
        what = "variables and tokens of pipelines are limited" + (f": {', '.join(wrong)}" if wrong else "")
        yield check(not wrong, what, self.change("PATCH", path, wanted))

    def _others(self) -> Findings:
        """Check that ids of pipelines count per organization: else another project could have the same one."""
        mine = {str(self.definition(name)["id"]) for name in self.pipelines(self.target)}
        for project in self.get(f"{self.organization}/_apis/projects")["value"]:
            if project["id"] != self.project["id"]:
                url = f"{self.organization}/{quote(project['name'])}/_apis/build/definitions"
                ids = ",".join(sorted(number for number in mine if number.isdecimal()))
                found = (self.get(url, f"definitionIds={ids}") or {"value": []})["value"] if ids else []
                for one in found:
                    what = f"pipeline {one['id']} of {project['name']} has the id of one of these"
                    yield Finding(TOO_MUCH, what, (Change("Bind the identities in another way: docs/cicd-setup.md."),))

    def _triggers(self) -> Findings:
        for name in self.pipelines(self.target):
            triggers = self.definition(name).get("triggers", [])
            closed = all(one.get("settingsSourceType") == 1 for one in triggers)
            override = Change(f"{self.slug}-{name}, Edit, Triggers: override the YAML continuous integration trigger.")
            yield check(closed, f"no branch can add itself to the triggers of {self.slug}-{name}", override)

    def _variables(self, role: str, identity: Identity) -> Findings:
        path, name = "_apis/distributedtask/variablegroups", f"{UNIT}databricks-{role}"
        found = self.get(f"{self.at}/{path}", f"groupName={name}")["value"]
        variables = found[0]["variables"] if found else {}
        ours = {"DATABRICKS_CLIENT_ID": {"value": identity.application_id}}
        body = {
            "name": name,
            "type": "Vsts",
            "variables": variables | ours,
            "variableGroupProjectReferences": [{"name": name, "projectReference": {"id": self.project["id"]}}],
        }
        url = f"{self.organization}/{path}"
        change = self.change("PUT", f"{url}/{found[0]['id']}", body) if found else self.change("POST", url, body)
        yield check(variables.get("DATABRICKS_CLIENT_ID") == ours["DATABRICKS_CLIENT_ID"], f"variables {name}", change)
        if "APPROVAL_REQUIRED" in variables:
            what = f"APPROVAL_REQUIRED in {name}: a release may go on without an approval"
            yield Finding(TOO_MUCH, what, (Change("Delete it there, unless you mean it."),))
        groups = self.get(f"{self.at}/{path}", f"groupName={name}")["value"]
        if role != PULL_REQUEST:
            number = str(groups[0]["id"]) if groups else f"<id of {name}>"
            yield from self._checks("variablegroup", number, name, [(TASK, BRANCHES)])
            yield from self._users("variablegroup", number, name)

    def _environment(self) -> Findings:
        url = f"{self.at}/_apis/distributedtask/environments"
        name = f"{UNIT}{self.target}"
        body = {"name": name}

        def find() -> list[dict[str, Any]]:
            return [one for one in self.get(url, f"name={name}")["value"] if one["name"] == name]

        yield check(bool(find()), f"environment {name}", self.change("POST", url, body))
        found = find()
        number = str(found[0]["id"]) if found else f"<id of {name}>"
        wanted: list[tuple[dict[str, str], Any]] = [(LOCK, {}), (TASK, BRANCHES)]
        if self.target == "prod":
            approvers = [{"id": team} for team in self._teams(self.arguments.reviewers)]
            settings = {"minRequiredApprovers": 1, "requesterCannotBeApprover": True}
            wanted.append((APPROVAL, settings | {"approvers": approvers, "instructions": "See docs/releasing.md"}))
        yield from self._checks("environment", number, name, wanted)
        yield from self._users("environment", number, name)

    def _checks(self, kind: str, number: str, name: str, wanted: list[tuple[dict[str, str], Any]]) -> Findings:
        url = f"{self.at}/_apis/pipelines/checks/configurations"
        exists = number.isdecimal()
        asked = (f"resourceType={kind}", f"resourceId={number}", "$expand=settings")
        found = self.get(url, *asked)["value"] if exists else []
        for type_, settings in wanted:
            there = [one for one in found if one["type"]["id"] == type_["id"]]
            if type_ is APPROVAL and not settings["approvers"]:  # whoever it is now
                settings = settings | {"approvers": there[0]["settings"]["approvers"] if there else []}
            resource = {"type": kind, "id": number}
            body = {"type": type_, "settings": settings, "resource": resource, "timeout": 43200}
            change = self.change("POST", url, body)
            if there:
                change = self.change("PATCH", f"{url}/{there[0]['id']}", body)
            if type_ is APPROVAL and not settings["approvers"]:
                change = Change("Say who approves: --reviewers <team>")
            met = len(there) == 1 and holds(there[0].get("settings") or {}, settings) and "Say" not in change.text
            yield check(met, f"{type_['name']} of {kind} {name}", change, state=TOO_MUCH if there else MISSING)

    def _users(self, kind: str, number: str, name: str) -> Findings:
        """Check that these pipelines, and no others, may use a resource."""
        url = f"{self.at}/_apis/pipelines/pipelinePermissions/{kind}/{number}"
        found = (self.get(url) or {}) if number.isdecimal() else {}
        may = {one["id"] for one in found.get("pipelines", []) if one["authorized"]}
        ours = {one["id"] for one in map(self.definition, self.pipelines(self.target))}
        everybody = bool((found.get("allPipelines") or {}).get("authorized"))
        entries = [{"id": one, "authorized": one in ours} for one in sorted(may | ours, key=str)]
        change = self.change("PATCH", url, {"pipelines": entries, "allPipelines": {"authorized": False}})
        state = TOO_MUCH if everybody or may - ours else MISSING
        others = "all pipelines" if everybody else ", ".join(map(str, sorted(may - ours)))
        what = f"its pipelines alone may use {kind} {name}" + (f": {others} may" if others else "")
        yield check(may == ours and not everybody, what, change, state=state)

    def _policies(self) -> Findings:
        url = f"{self.at}/_apis/policy/configurations"
        scope = [MAIN | {"repositoryId": self.repository["id"]}]
        found = [one for one in self.get(url)["value"] if holds(one["settings"].get("scope"), scope)]
        owners = list(self._teams(self.arguments.owners))
        build = {"buildDefinitionId": self.definition(PULL_REQUEST)["id"], "queueOnSourceUpdateOnly": True}
        build |= {"manualQueueOnly": False, "validDuration": 0, "displayName": f"{UNIT}{PULL_REQUEST}"}
        build |= {"filenamePatterns": [f"/{FOLDER}*"]} if FOLDER else {}
        for what, kind, settings in (
            ("main: a review by another one, of the last push", REVIEWERS, REVIEWED),
            ("main: a review by the owners", REQUIRED, {"requiredReviewerIds": owners, "creatorVoteCounts": False}),
            ("main: the pipeline pull-request", BUILD, build),
        ):
            there = [one for one in found if one["type"]["id"] == kind]
            if kind == BUILD and UNIT:  # each project of the repository has one
                there = [one for one in there if one["settings"].get("displayName") == build["displayName"]]
            if kind == REQUIRED and not owners and there:  # whoever it is now
                settings = settings | {"requiredReviewerIds": there[0]["settings"]["requiredReviewerIds"]}
            body: dict[str, Any] = {"isEnabled": True, "isBlocking": True, "type": {"id": kind}}
            body["settings"] = settings | {"scope": scope}
            change = self.change("PUT", f"{url}/{there[0]['id']}", body) if there else self.change("POST", url, body)
            if settings.get("requiredReviewerIds") == []:
                change = Change("Say who reviews every change: --owners <team>")
            met = any(holds(one, body) for one in there) and settings.get("requiredReviewerIds") != []
            yield check(met, what, change, state=TOO_MUCH if there else MISSING)

    def _teams(self, names: list[str]) -> Iterator[str]:
        for name in names:
            found = self.get(f"{self.organization}/_apis/projects/{self.project['id']}/teams/{quote(name)}")
            if found is None:
                raise SetUpError(f"The project has no team {name}. `az devops team list` names them.")
            yield found["id"]


def holds(found: Any, wanted: Any) -> bool:
    """Return whether all of `wanted` is in `found`: Azure DevOps adds settings of its own."""
    if isinstance(wanted, dict):
        return isinstance(found, dict) and all(
            found.get(key, 0) >= value if key.startswith("min") else holds(found.get(key), value)
            for key, value in wanted.items()
        )
    if isinstance(wanted, list):
        same = isinstance(found, list) and len(found) == len(wanted)
        return same and all(any(holds(one, value) for one in found) for value in wanted)
    return found == wanted
