"""`uv run python -m environments`: the set-up of a target, planned and applied against emulated services over HTTP."""

import ast
import copy
import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import yaml
from conftest import Bake
from helpers import CHOICES, PATTERNS, SHARED, TARGETS, alone, clean_environment, need, run
from services import ACCOUNT, TOKEN, AzureDevOps, GitHub, GitLab, Services, State
from stand_in import put_program

PACKAGES = ("databricks-sdk>=0.68", "pyyaml>=6")
PROD, OTHERS = 3333, 2222  # workspaces


class Provider:
    """What the tests know of a provider of CI/CD."""

    def __init__(self, service: Callable[[State], Any], cli: str, origin: str, who: str, code_owners: str) -> None:
        self.service, self.cli, self.origin, self.who, self.code_owners = service, cli, origin, who.split(), code_owners


PROVIDERS = {
    "github-actions": Provider(
        GitHub,
        "gh",
        "https://github.com/acme/fraud.git",
        "--reviewers acme/reviewers --releasers acme/releasers --owners acme/platform",
        ".github/CODEOWNERS",
    ),
    "gitlab-ci": Provider(
        GitLab,
        "glab",
        "git@gitlab.com:acme/fraud.git",
        "--reviewers acme/reviewers --releasers acme/releasers --owners acme/platform",
        ".gitlab/CODEOWNERS",
    ),
    "azure-devops": Provider(
        AzureDevOps, "az", "https://dev.azure.com/acme/Risk/_git/fraud", "--reviewers Approvers --owners Platform", ""
    ),
}


def test_every_provider_is_tested() -> None:
    providers = {ci for ci in CHOICES["ci_provider"] if ci != "none"}
    assert PROVIDERS.keys() == ATTACKS.keys() == providers, "PROVIDERS and ATTACKS in tests/test_environments.py"


@pytest.fixture(scope="session")
def python() -> Path:
    """A Python with the packages that the command needs: fewer, and so faster, than those of a whole project."""
    folder = SHARED["folder"] / "python"
    interpreter = folder / "venv" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    with alone(folder):
        if not (folder / "installed").exists():
            assert run("uv", "venv", "--quiet", "--clear", folder / "venv", cwd=folder).returncode == 0
            installed = run("uv", "pip", "install", "--quiet", "--python", interpreter, *PACKAGES, cwd=folder)
            if installed.returncode:
                pytest.skip(f"no package registry can be reached: {installed.stdout}")
            (folder / "installed").touch()
    return interpreter


def wrap(program: Path, real: str, address: str) -> None:
    """Let the real `gh` talk to the emulated GitHub: for github.localhost it speaks HTTP, which a proxy may answer."""
    program.write_text(f'#!/bin/sh\nHTTP_PROXY={address} GH_TOKEN=token exec {real} "$@"\n', encoding="utf-8")
    program.chmod(0o755)


class Project:
    """A rendered project, and the services that know of it."""

    def __init__(
        self,
        root: Path,
        provider: Provider | None,
        services: Services,
        python: Path,
        here: Path,
        real: str | None,
        who: tuple[str, ...],
    ) -> None:
        self.who = [*(who or (provider.who if provider else ()))]
        self.root, self.provider, self.services, self.python = root, provider, services, python
        bin = here / "bin"
        bin.mkdir()
        if provider:
            if real:
                wrap(bin / provider.cli, real, services.address())
            else:
                put_program(bin, provider.cli, "provider_cli.py", provider.cli)
            run("git", "init", "--quiet", cwd=root)
            origin = provider.origin.replace("github.com", "github.localhost") if real else provider.origin
            run("git", "remote", "add", "origin", origin, cwd=root)
        config = here / "databrickscfg"
        profile = f"[account]\nhost = {services.address()}\naccount_id = {ACCOUNT}\ntoken = {TOKEN}\n"
        config.write_text(profile, encoding="utf-8")
        self.variables = {
            "PATH": f"{bin}{os.pathsep}{os.environ['PATH']}",
            "DATABRICKS_CONFIG_FILE": str(config),
            "DATABRICKS_TOKEN": TOKEN,
            "SERVICES": services.address(),
            "CALLS": str(here / "calls.txt"),
        }

    @property
    def state(self) -> State:
        return self.services.state

    @property
    def things(self) -> dict[str, Any]:
        return self.state.things

    def start(self, *arguments: str, **variables: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [self.python, "-m", "environments", *arguments],
            cwd=self.root,
            env=clean_environment(**(self.variables | variables)),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
        )

    def run(self, *arguments: str, **variables: str) -> tuple[int, str]:
        """Return the exit code and what was printed."""
        process = self.start(*arguments, **variables)
        printed, _ = process.communicate(timeout=120)
        assert "Traceback" not in printed, printed
        return process.returncode, printed

    def arguments(self, command: str, target: str) -> list[str]:
        return [command, "--target", target, *self.who]

    def plan(self, target: str = "prod") -> list[str]:
        """Return what is not as it should be."""
        before = list(self.services.changes)
        code, printed = self.run(*self.arguments("plan", target))
        assert self.services.changes == before, "a plan changes nothing"
        wrong = re.findall(r"(?m)^(?:missing|too much) .*(?:\n {10}.*)*", printed)
        assert printed.splitlines()[-1].startswith(f"{target}: "), printed
        assert (code == 0) == (not wrong), printed
        return wrong

    def apply(self, target: str = "prod") -> str:
        return self.run(*self.arguments("apply", target))[1]

    def by_hand(self) -> None:
        """Do what people do: merge the owners of code, and close the triggers of pipelines."""
        owners = self.root / (self.provider.code_owners if self.provider else "")
        if owners.is_file():
            path = owners.relative_to(self.root).as_posix()
            self.things[f"file {path}"] = owners.read_text(encoding="utf-8")
        for pipeline in self.things.get("pipelines", []):
            pipeline["triggers"] = [{"triggerType": "continuousIntegration", "settingsSourceType": 1}]

    def set_up(self, target: str = "prod") -> None:
        self.apply(target)
        self.by_hand()
        assert not self.plan(target)


@pytest.fixture
def make(bake_anew: Bake, python: Path, tmp_path: Path) -> Iterator[Callable[..., Project]]:
    """Return a function that renders a project whose workspaces, and whose provider, are emulated."""
    servers = []

    def make_one(
        ci: str, pattern: str = "hybrid", real: str | None = None, who: tuple[str, ...] = (), **answers: str
    ) -> Project:
        provider = PROVIDERS.get(ci)
        services = Services(provider.service if provider else GitHub)
        Thread(target=services.serve_forever, daemon=True).start()
        servers.append(services)
        root = bake_anew(
            deployment_pattern=pattern,
            ci_provider=ci,
            prod_workspace_host=services.address(),
            staging_workspace_host=services.address("localhost"),
            dev_workspace_host=services.address("localhost"),
            **answers,
        )
        return Project(root, provider, services, python, tmp_path, real, who)

    yield make_one
    for server in servers:
        server.shutdown()
        server.server_close()


every_provider = pytest.mark.parametrize("ci", PROVIDERS, ids=lambda ci: f"ci:{ci}")


@every_provider
def test_from_nothing_to_a_clean_plan(ci: str, make: Callable[..., Project]) -> None:
    project = make(ci, sql_warehouse="Shared")
    wrong = project.plan()
    assert len([one for one in wrong if "CAN_USE on SQL warehouse Shared" in one]) == 3, "who deploys, validates, looks"
    assert len(wrong) > 15 and all("\n" in one for one in wrong), "each says what to type"
    printed = project.apply()
    made = list(project.services.changes)
    left = [line for line in printed.splitlines() if line.startswith(("missing", "too much"))]
    assert all("CODEOWNERS" in line or "triggers" in line for line in left), left
    project.by_hand()
    assert not project.plan()
    project.apply()
    assert project.services.changes == made, "applied again, nothing is written"
    # A token says for whom it was made. Azure DevOps makes all of its tokens for one audience.
    audience = "api://AzureADTokenExchange" if ci == "azure-devops" else ACCOUNT
    assert {tuple(policy["audiences"]) for policy in policies(project, "prod")} == {(audience,)}
    trusted = [(policy.get("subject_claim", "sub"), policy["subject"]) for policy in policies(project, "prod")]
    assert (
        trusted
        == {
            "github-actions": [("sub", "repo:acme/fraud:environment:prod")],
            "gitlab-ci": [
                (
                    "sub",
                    "project_path:acme/fraud:ref_protected:true:environment_protected:true:deployment_tier:production",
                )
            ],
            # Ids of pipelines: anybody may make one of the same name.
            "azure-devops": [
                ("def_id", str(one["id"])) for one in project.things.get("pipelines", []) if "pull" not in one["name"]
            ],
        }[ci]
    )
    # Code of the template runs there.
    assert not [one for one in project.things.get("pipelines", []) if "template" in one["name"]]


def test_in_gitlab_no_job_of_staging_can_be_one_of_prod(make: Callable[..., Project]) -> None:
    """A job writes its own tier, and is in a protected environment as soon as that one is, whichever it is."""
    project = make("gitlab-ci")
    project.things["protected environments"] = {"staging": {"name": "staging", "deploy_access_levels": []}}
    project.set_up("prod")
    project.state.grants["table/prod.fraud_detection.source"] = {}
    project.set_up("staging")
    assert list(project.things["protected environments"]) == ["prod"]
    (policy,) = policies(project, "staging")
    assert policy["subject"].endswith(":ref_protected:true:environment_protected:false:deployment_tier:staging")


def test_the_real_gh(make: Callable[..., Project]) -> None:
    need("gh", unix="the script around gh")
    project = make("github-actions", real=shutil.which("gh"))
    project.apply()
    project.by_hand()
    assert not project.plan()
    (policy,) = policies(project, "prod")
    assert policy["subject"] == "repo:acme/fraud:environment:prod"


def test_what_the_plan_prints_can_be_typed(make: Callable[..., Project]) -> None:
    """In a shell, with the real Databricks CLI; the owner of the catalogs executes the SQL."""
    need("databricks", unix="the quotes of the commands")
    project = make("github-actions", sql_warehouse="Shared")
    project.set_up()
    attack_databricks(project)
    attack_github(project.things)
    for principal in list(project.state.principals)[:1]:
        del project.state.principals[principal]  # so that something is missing, too
    for _ in range(3):  # what one step makes has an id that the next one names
        for line in re.findall(r"(?m)^ {10}(.+)", "\n".join(project.plan())):
            grant = re.match(r"(GRANT|REVOKE) ([A-Z, ]+) ON (\w+) (\S+) (?:TO|FROM) `(.+)`;", line)
            owner = re.match(r"ALTER \w+ (\S+) OWNER TO `(.+)`;", line)
            if "<" in line:
                continue
            if grant:
                key = f"{grant[3].lower()}/{grant[4].replace('`', '')}"
                changed = {privilege.replace(" ", "_") for privilege in grant[2].split(", ")}
                had = set(project.state.grants[key].get(grant[5], []))
                project.state.grants[key][grant[5]] = sorted(had | changed if grant[1] == "GRANT" else had - changed)
            elif owner:
                project.state.owners[owner[1].replace("`", "")] = owner[2]
            elif line.startswith(("databricks ", "echo ", "gh ")):
                typed = run("sh", "-c", line, cwd=project.root, **project.variables)
                assert typed.returncode == 0, f"{line}\n{typed.stdout}"
    assert [one for one in project.plan() if "CODEOWNERS" not in one] == []


@pytest.mark.parametrize("ci", ["github-actions"])  # the others have less at the top, and this takes a while
def test_projects_of_one_repository_leave_each_other_alone(
    ci: str, make: Callable[..., Project], bake_anew: Bake
) -> None:
    place = {"projects_folder": "projects", "schema_name": "fraud_{target}"}
    first = make(ci, "deploy-code", project_slug="fraud", **place)
    second = copy.copy(first)
    hosts = {f"{target}_workspace_host": first.services.address() for target in ("dev", "staging", "prod")}
    second.root = bake_anew(ci_provider=ci, project_slug="fraud-v2", **place | hosts)
    shutil.copytree(first.root / ".git", second.root / ".git")
    for project in (first, second):
        project.apply()
        for pipeline in project.things.get("pipelines", []):
            pipeline["triggers"] = [{"triggerType": "continuousIntegration", "settingsSourceType": 1}]
        # In this test the top of both is the folder that they are rendered in.
        owners = project.root.parents[1] / (project.provider.code_owners if project.provider else "")
        if owners.is_file():
            name = owners.relative_to(project.root.parents[1]).as_posix()
            project.things[f"file {name}"] = owners.read_text(encoding="utf-8")
    assert not first.plan() and not second.plan()


def policies(project: Project, role: str) -> list[Any]:
    """Return the federation policies of an identity."""
    principal = next(one for one in project.state.principals.values() if one["displayName"].endswith(f"-{role}"))
    return [one["oidc_policy"] for one in project.state.policies.get(principal["id"], [])]


def test_the_checks_that_main_asks_for_are_those_of_the_workflow(bake: Bake) -> None:
    project = bake(ci_provider="github-actions")
    workflow = yaml.safe_load((project / ".github/workflows/pull-request.yml").read_text(encoding="utf-8"))
    names = {
        job["name"].replace("${{ matrix.target }}", target)
        for job in workflow["jobs"].values()
        for target in job.get("strategy", {}).get("matrix", {}).get("target", [""])
    }
    source = (project / "environments" / "provider.py").read_text(encoding="utf-8")
    asked = ast.literal_eval(re.findall(r"(?m)^CHECKS = (.+)$", source)[0])
    assert set(asked) <= names and len(asked) == 4


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("https://github.com/acme/fraud.git", "github.com acme/fraud"),
        ("git@github.com:acme/fraud.git", "github.com acme/fraud"),
        ("ssh://git@gitlab.example.com:2222/acme/risk/fraud.git", "gitlab.example.com acme/risk/fraud"),
        ("https://ada@gitlab.example.com:8443/acme/fraud", "gitlab.example.com acme/fraud"),
        ("https://acme@dev.azure.com/acme/The%20Risk/_git/fraud", "dev.azure.com acme/The Risk/_git/fraud"),
        ("git@ssh.dev.azure.com:v3/acme/Risk/fraud", "ssh.dev.azure.com v3/acme/Risk/fraud"),
    ],
)
def test_the_repository_is_read_from_the_remote(
    address: str, expected: str, bake: Bake, tmp_path: Path, python: Path
) -> None:
    run("git", "init", "--quiet", cwd=tmp_path)
    run("git", "remote", "add", "origin", address, cwd=tmp_path)
    script = "from environments.findings import origin; print(*origin())"
    assert run(python, "-c", script, cwd=tmp_path, PYTHONPATH=str(bake())).stdout.strip() == expected


def test_both_providers_read_the_owners_of_code_alike(bake: Bake) -> None:
    projects = (bake(ci_provider=ci) for ci in ("github-actions", "gitlab-ci"))
    github, gitlab = (project / "environments" / "code_owners.py" for project in projects)
    assert github.read_bytes() == gitlab.read_bytes()


def test_a_name_with_a_backtick_ends_no_name(bake: Bake, python: Path) -> None:
    """Whoever makes a group chooses its name, and somebody copies the statement into an editor."""
    script = "from environments.rights import sql; print(sql('REVOKE', 'a`; DROP', {'SELECT'}, 'table', 'c.s.t`t'))"
    project = bake()
    printed = run(python, "-c", script, cwd=project, PYTHONPATH=str(project)).stdout.strip()
    assert printed == "REVOKE SELECT ON TABLE `c`.`s`.`t``t` FROM `a``; DROP`;"


# From where it stops, it goes on


@pytest.mark.slow
def test_killed_after_each_change_it_goes_on(make: Callable[..., Project]) -> None:
    """Each run is killed as soon as it has changed one thing, before it hears that it has."""
    project = make("github-actions")
    running: list[subprocess.Popen[str]] = []
    project.services.on_change = lambda: running[-1].kill()
    for _ in range(40):
        running.append(project.start(*project.arguments("apply", "prod")))
        running[-1].communicate(timeout=120)
        if running[-1].returncode in (0, 1):
            break
    project.services.on_change = None
    assert len(running) == 1 + len(project.services.changes) > 15
    project.by_hand()
    assert not project.plan()
    killed = project.state.shown()
    project.state.__init__()  # type: ignore[misc] - as if nothing had happened
    project.services.provider.things = project.state.things
    (project.root / ".github" / "CODEOWNERS").unlink()
    project.set_up()

    def without_ids(state: Any) -> str:
        return re.sub(r"\d+", "#", json.dumps(state, sort_keys=True))

    assert without_ids(killed) == without_ids(project.state.shown())


def test_what_fails_keeps_nothing_else_from_being_done(make: Callable[..., Project]) -> None:
    project = make("github-actions")
    del project.state.grants["catalog/prod"]
    printed = project.apply()
    assert re.search(r"missing   catalog prod: .*(\n {10}GRANT .*)+", printed)
    assert "done      ruleset version tags stay" in printed
    project.state.grants["catalog/prod"] = {}
    project.set_up()


# More than needed


def attack_databricks(project: Project) -> dict[str, bool]:
    """Allow more than is needed, and return what a plan must say of it, and whether `apply` takes it away."""
    state = project.state
    ids = {one["displayName"].removeprefix("fraud-detection-"): one["id"] for one in state.principals.values()}
    prod, request = ids["prod"], next(ids[role] for role in ids if role != "prod")
    app = state.principals[prod]["applicationId"]
    (policy,) = state.policies[prod]
    mine = dict(policy["oidc_policy"])
    policy["oidc_policy"]["any_subject"] = True  # what no version of the SDK knows yet
    further = [
        mine | {"subject": "repo:mallory/fraud:environment:prod"},
        mine | {"subject": "acme", "subject_claim": "repository_owner"},
        mine | {"jwks_json": "keys of mallory"},
        mine,  # as it should be
        mine,  # the same once more
    ]
    state.policies[prod] += [{"policy_id": f"extra-{number}", "oidc_policy": one} for number, one in enumerate(further)]
    state.secrets[prod] = [{"id": "secret-1"}]
    state.assigned[PROD][request] = ["USER", "ADMIN"]
    name = f"accounts/{ACCOUNT}/servicePrincipals/{app}/ruleSets/default"
    state.rule_sets[name] = [
        {"role": "roles/servicePrincipal.user", "principals": ["users/mallory"]},
        {"role": "roles/servicePrincipal.manager", "principals": ["users/admin"]},
    ]
    state.grants["catalog/prod"] |= {
        app: ["CREATE_SCHEMA", "MANAGE", "USE_CATALOG"],
        state.principals[request]["applicationId"]: ["SELECT"],
        "mallory": ["MODIFY", "SELECT"],
        "ada": ["USE_CATALOG", "SELECT", "BROWSE"],  # reads, which is for the owner of the catalog to decide
    }
    state.grants["catalog/dev"] |= {app: ["USE_CATALOG"], "ada": ["MODIFY"]}
    state.grants["catalog/staging"][app] = ["EXECUTE", "MODIFY", "USE_CATALOG", "USE_SCHEMA"]
    schema = "prod.fraud_detection"
    state.grants[f"schema/{schema}"] = {
        "data-scientists": ["EXECUTE", "MODIFY", "SELECT", "USE_SCHEMA"],
        "model-approvers": ["USE_SCHEMA"],
    }
    # A privilege that the SDK's own classes leave out.
    model = f"{schema}.fraud_detection_model"
    state.grants[f"function/{model}"] = {
        "model-approvers": ["APPLY_TAG", "EXECUTE"],
        "mallory": ["CREATE_MODEL_VERSION"],
    }
    state.owners = {schema: app, model: "ada"}
    return {
        **{
            f"federation-policy delete {prod} {one} --profile account": True
            for one in (policy["policy_id"], "extra-0", "extra-1", "extra-2", "extra-4")
        },
        f"service-principal-secrets delete {prod} secret-1": True,
        "is an admin of workspace 3333": True,
        "users/mallory may run jobs as fraud-detection-prod": True,
        f"REVOKE MANAGE ON CATALOG `prod` FROM `{app}`;": True,
        "REVOKE SELECT ON CATALOG `prod` FROM `app-fraud": True,
        "REVOKE MODIFY ON CATALOG `prod` FROM `mallory`;  -- or --trust": False,
        f"REVOKE USE CATALOG ON CATALOG `dev` FROM `{app}`;": True,
        f"REVOKE MODIFY ON CATALOG `staging` FROM `{app}`;": True,
        "REVOKE MODIFY ON SCHEMA `prod`.`fraud_detection` FROM `data-scientists`;": True,
        "REVOKE CREATE MODEL VERSION ON FUNCTION": True,
        f"ALTER MODEL `prod`.`fraud_detection`.`fraud_detection_model` OWNER TO `{app}`;": True,
    }


def attack_github(things: dict[str, Any]) -> dict[str, bool]:
    environment = things["environment prod"]
    environment["can_admins_bypass"] = True
    environment["protection_rules"][1] |= {"prevent_self_review": False, "reviewers": []}
    things["branches prod"] += [
        {"name": "feature/*", "type": "branch", "id": 7},
        {"name": "v*", "type": "tag", "id": 8},  # a tag brings the workflow that deploys it
    ]
    things["environments/prod APPROVAL_REQUIRED"] = {"value": "false"}
    things["environments/prod DATABRICKS_CLIENT_ID"] = {"value": "of another one"}
    rulesets = {one["name"]: one for one in things["rulesets"].values()}
    reviewed = next(one for one in rulesets["reviewed code"]["rules"] if one["type"] == "pull_request")
    reviewed["parameters"] |= {"dismiss_stale_reviews_on_push": False, "require_last_push_approval": False}
    del things["rulesets"][str(rulesets["version tags stay"]["id"])]
    rulesets["version tags are made by releasers"]["bypass_actors"].append({"actor_type": "Team", "actor_id": 1})
    things["use_default"] = False
    things["file .github/CODEOWNERS"] += "/.github/\n"  # a later line wins, and this one names nobody
    return {
        "environment prod: admins may bypass it, its reviewers are missing, who starts a release may approve it": True,
        "branch feature/* may deploy to prod": True,
        "tag v* may deploy to prod": True,
        "variable APPROVAL_REQUIRED of prod: a release may go on without an approval": False,
        "variable /environments/prod/DATABRICKS_CLIENT_ID": True,
        "too much  ruleset reviewed code": True,
        "missing   ruleset version tags stay": True,
        "too much  ruleset version tags are made by releasers": True,
        "subjects of tokens as GitHub makes them": True,
        "owners of the pipelines in .github/CODEOWNERS on main": False,
    }


def attack_gitlab(things: dict[str, Any]) -> dict[str, bool]:
    things["project"] |= {
        "ci_pipeline_variables_minimum_override_role": "developer",
        "allow_pipeline_trigger_approve_deployment": True,
        "ci_id_token_sub_claim_components": ["project_path"],
    }
    things["approvals"] |= {"merge_requests_author_approval": True, "reset_approvals_on_push": False}
    things["approvals"]["merge_requests_disable_committers_approval"] = False
    things["rules"][0]["approvals_required"] = 0
    developers = {"access_level": 30, "user_id": None, "group_id": None}
    things["protected environments"]["prod"]["deploy_access_levels"].append(developers)
    things["protected environments"]["staging"] = {"name": "staging", "deploy_access_levels": [developers]}
    things["of acme"] = [{"name": "staging"}]
    things["protected branches"]["main"]["push_access_levels"] = [{"id": 9, "access_level": 40}]
    things["protected branches"]["main"]["code_owner_approval_required"] = False
    things["protected branches"]["feature/*"] = {"name": "feature/*", "push_access_levels": []}
    things["protected tags"]["v*"]["create_access_levels"] = [{"access_level": 30}]
    things["variables"]["APPROVAL_REQUIRED prod"] = {"key": "APPROVAL_REQUIRED", "environment_scope": "prod"}
    things["variables"]["DATABRICKS_CLIENT_ID prod"]["protected"] = False
    things["file .gitlab/CODEOWNERS"] = ""
    return {
        "ci_id_token_sub_claim_components is ['project_path'], "
        "ci_pipeline_variables_minimum_override_role is developer, "
        "allow_pipeline_trigger_approve_deployment is True": True,
        "merge_requests_author_approval is True, merge_requests_disable_committers_approval is False, "
        "reset_approvals_on_push is False": True,
        "a merge request needs an approval": True,
        "too much  protected environment prod": True,
        "too much  protected environment staging": True,
        "too much  acme protects staging": False,
        "too much  main: nobody pushes": True,
        "too much  protected branch feature/*": False,
        "too much  tags v*": True,
        "too much  variable APPROVAL_REQUIRED for prod": False,
        "variable DATABRICKS_CLIENT_ID for prod": True,
        "owners of the pipelines in .gitlab/CODEOWNERS on main": False,
    }


def attack_azure(things: dict[str, Any]) -> dict[str, bool]:
    checks = {(one["resource"]["type"], one["type"]["name"]): one for one in things["checks"]}
    checks["environment", "Approval"]["settings"] = {"approvers": [], "requesterCannotBeApprover": False}
    checks["environment", "Task Check"]["settings"]["inputs"]["allowedBranches"] = "*"
    things["checks"].remove(checks["variablegroup", "Task Check"])
    (used,) = [name for name in things if name.startswith("may use environment")]
    things[used]["pipelines"].append({"id": 7, "authorized": True})
    (used,) = [name for name in things if name.startswith("may use variablegroup")]
    things[used]["allPipelines"] = {"authorized": True}
    reviews = next(one for one in things["policies"] if "minimumApproverCount" in one["settings"])
    reviews["settings"] |= {"blockLastPusherVote": False, "creatorVoteCounts": True, "resetOnSourcePush": False}
    things["policies"] = [one for one in things["policies"] if "requiredReviewerIds" not in one["settings"]]
    things["settings"]["enforceSettableVar"] = False
    next(one for one in things["variables"] if one["name"] == "databricks-prod")["variables"]["APPROVAL_REQUIRED"] = {}
    things["of another project"] = [{"id": 103}]
    things["pipelines"][1]["triggers"][0]["settingsSourceType"] = 2
    # Another of the same name, in another folder: its name counts for nothing.
    things["pipelines"].append({"name": "fraud-detection-release-code", "path": "\\mallory", "id": 6})
    return {
        "too much  Approval of environment prod": True,
        "too much  Task Check of environment prod": True,
        "missing   Task Check of variablegroup databricks-prod": True,
        "its pipelines alone may use environment prod: 7 may": True,
        "its pipelines alone may use variablegroup databricks-prod: all pipelines may": True,
        "main: a review by another one, of the last push": True,
        "main: a review by the owners": True,
        "variables and tokens of pipelines are limited: enforceSettableVar": True,
        "APPROVAL_REQUIRED in databricks-prod": False,
        "pipeline 103 of Other has the id of one of these": False,
        "no branch can add itself to the triggers": False,
    }


ATTACKS = {"github-actions": attack_github, "gitlab-ci": attack_gitlab, "azure-devops": attack_azure}


def test_the_warehouse_of_the_dashboard(make: Callable[..., Project]) -> None:
    project = make("none", who=("--deployers", "ada@example.com"), sql_warehouse="Shared")
    users = [{"user_name": "ada@example.com", "all_permissions": [{"permission_level": "CAN_VIEW"}]}]
    users.append({"display_name": "data-scientists", "all_permissions": [{"permission_level": "CAN_USE"}]})
    project.state.may_use_warehouse.extend(users)
    missing = [one.splitlines()[0] for one in project.plan() if "warehouse" in one]
    assert [one.split()[1] for one in missing] == ["data-scientists:", "ada@example.com:"], "a name is none of theirs"
    project.state.may_use_warehouse.append(
        {"group_name": "users", "all_permissions": [{"permission_level": "CAN_USE", "inherited": True}]}
    )
    assert not [one for one in project.plan() if "warehouse" in one], "everybody may"

    path = project.root / "resources" / "warehouse.yml"
    path.write_text(path.read_text(encoding="utf-8").replace("Shared", "Gone"), encoding="utf-8")
    (found,) = [one for one in project.plan() if "warehouse" in one]
    assert found.startswith("missing   SQL warehouse Gone\n")


@every_provider
def test_more_than_needed_is_named_and_taken_away(ci: str, make: Callable[..., Project]) -> None:
    project = make(ci)
    project.set_up()
    attacks = [attack_databricks, lambda project: ATTACKS[ci](project.things)]
    for attack in attacks[ci != "github-actions" :]:  # Databricks is the same with each provider
        expected = attack(project)
        wrong = "\n".join(project.plan())
        for text in expected:
            assert text in wrong, f"{text} is not in\n{wrong}"
        project.apply()
        left = project.plan()
        for text, cured in expected.items():
            assert any(text in one for one in left) is not cured, left
        assert len(left) == sum(not cured for cured in expected.values())
        project.who = [*project.who, "--trust", "mallory"]  # whose right on the catalog is intended, from here on


@pytest.mark.parametrize("ci", ["github-actions", "gitlab-ci"], ids=lambda ci: f"ci:{ci}")
def test_a_renamed_repository_leaves_no_policy_behind(ci: str, make: Callable[..., Project]) -> None:
    """Whoever takes the old name could have the tokens that the old policy accepts. The remote still has that name."""
    project = make(ci)
    project.set_up()
    before = policies(project, "prod")
    if ci == "github-actions":
        project.services.provider.full_name, project.services.provider.prefix = "acme/risk", "repo:acme@12/risk@34"
        subject = "repo:acme@12/risk@34:environment:prod"
    else:
        project.services.provider.name = "acme/risk"
        subject = "project_path:acme/risk:ref_protected:true:environment_protected:true:deployment_tier:production"
    wrong = project.plan()
    assert [one.split()[0] for one in wrong] == ["missing", "too"] * 2
    assert f"prod for {subject}" in wrong[2] and json.dumps(before[0]) in wrong[3]
    assert re.search(r"federation-policy delete \d+ policy-\d+ --profile account", wrong[3])
    project.apply()
    assert not project.plan()
    assert policies(project, "prod") == [before[0] | {"subject": subject}]


# Who may what, where


@pytest.mark.parametrize("pattern", PATTERNS)
def test_the_rights_are_those_of_the_documents(pattern: str, make: Callable[..., Project]) -> None:
    """docs/access.md and docs/promotion.md, apart from names that they cannot know."""
    project = make("none", pattern, who=("--deployers", "deployer"))
    planned, documented = dict[Any, set[str]](), dict[Any, set[str]]()
    statement = re.compile(r"GRANT ([A-Z, ]+) ON (CATALOG|SCHEMA) (\S+) TO `(.+)`;")
    for target in TARGETS:
        who = [] if target == "dev" else ["--deployers", f"deployer of {target}"]
        printed = project.run("plan", "--target", target, *who)[1]
        for privileges, kind, name, principal in statement.findall(printed):
            planned.setdefault((kind, name, principal), set()).update(privileges.split(", "))
    for page in (project.root / "docs").glob("*.md"):
        for privileges, kind, name, principal in statement.findall(page.read_text(encoding="utf-8")):
            if "<" not in name:
                principal = re.sub(r"<identity of (.+)>", r"deployer of \1", principal)
                principal = principal.replace(
                    "<application id of the service principal>", f"deployer of {name.strip('`')}"
                )
                documented.setdefault((kind, name, principal), set()).update(privileges.split(", "))
    assert planned == documented


def test_a_source_belongs_to_others_and_the_model_to_nobody_else(make: Callable[..., Project]) -> None:
    """Others keep what they have where the table comes from. What the bundle grants nobody, nobody has."""
    project = make("none", "deploy-code", who=("--deployers", "deployer"))
    bundle = project.root / "databricks.yml"
    text = bundle.read_text(encoding="utf-8")
    bundle.write_text(text.replace("${resources.schemas.schema.id}.source", "lake.sales.orders"), encoding="utf-8")
    state, model = project.state, "function/prod.fraud_detection.fraud_detection_model"
    state.grants |= {"catalog/lake": {"ada": ["MANAGE"]}, model: {"mallory": ["APPLY_TAG"]}}
    wrong = "\n".join(project.plan())
    assert "GRANT USE SCHEMA ON SCHEMA `lake`.`sales` TO `deployer`;" in wrong, "which does not exist yet"
    state.grants |= {"schema/lake.sales": {"ada": ["ALL_PRIVILEGES"]}, "table/lake.sales.orders": {"ada": ["MODIFY"]}}
    state.owners["prod.fraud_detection.fraud_detection_model"] = "deployer"
    project.set_up()
    assert state.grants["catalog/lake"] == {"ada": ["MANAGE"], "deployer": ["USE_CATALOG"]}
    assert state.grants["schema/lake.sales"] == {"ada": ["ALL_PRIVILEGES"], "deployer": ["USE_SCHEMA"]}
    assert state.grants["table/lake.sales.orders"] == {"ada": ["MODIFY"], "deployer": ["SELECT"]}
    assert state.grants[model] == {"mallory": []}


def test_what_is_there_to_read_has_to_exist(make: Callable[..., Project]) -> None:
    """In hybrid staging trains on a table of prod, and has nothing of prod besides."""
    project = make("github-actions")
    wrong = project.plan("staging")
    (table,) = [one for one in wrong if "source`" in one]
    app = "<application id of fraud-detection-staging>"
    assert f"GRANT SELECT ON TABLE `prod`.`fraud_detection`.`source` TO `{app}`;" in table
    assert any(f"GRANT USE CATALOG, USE SCHEMA ON CATALOG `prod` TO `{app}`;" in one for one in wrong)
    project.state.grants["table/prod.fraud_detection.source"] = {}
    project.set_up("staging")
    assert project.state.assigned[OTHERS].keys() >= set(project.state.principals)
    assert "environment staging" in project.things and "environment prod" not in project.things


@pytest.mark.parametrize(
    ("pattern", "roles"), [("deploy-code", ["pull-request"]), ("deploy-model", ["dev", "pull-request"])]
)
def test_dev_has_an_identity_only_where_a_release_is_tested_there(
    pattern: str, roles: list[str], make: Callable[..., Project]
) -> None:
    project = make("github-actions", pattern)
    project.set_up("dev")
    names = [one["displayName"].removeprefix("fraud-detection-") for one in project.state.principals.values()]
    assert sorted(names) == roles


def test_people_deploy_where_there_is_no_provider(make: Callable[..., Project]) -> None:
    project = make("none", who=("--deployers", "ada"))
    project.state.owners["prod.fraud_detection"] = "mallory"
    project.set_up()
    assert not project.state.principals
    assert project.state.grants["catalog/prod"]["ada"] == ["CREATE_SCHEMA", "USE_CATALOG"]
    assert project.state.owners["prod.fraud_detection"] == "ada"


# Secrets and errors


def test_nothing_secret_is_written_or_handed_on(make: Callable[..., Project]) -> None:
    project = make("github-actions")
    printed = project.apply()
    calls = Path(project.variables["CALLS"]).read_text(encoding="utf-8")
    assert "rulesets" in calls and TOKEN not in calls + printed
    assert not [path for path in project.root.rglob("*") if path.is_file() and TOKEN.encode() in path.read_bytes()]
    told = json.dumps(project.state.shown())
    assert TOKEN not in told and not project.state.secrets


def test_errors_say_what_to_type(make: Callable[..., Project]) -> None:
    project = make("github-actions")
    plan = project.arguments("plan", "prod")

    def refused(**variables: str) -> str:
        code, printed = project.run(*plan, **variables)
        assert code == 1
        return printed

    nobody = {"DATABRICKS_CONFIG_FILE": str(project.root / "none"), "DATABRICKS_TOKEN": ""}
    assert "Type `databricks auth login --host <account console> --account-id" in refused(**nobody)
    assert "environments: Databricks refuses" in refused(DATABRICKS_TOKEN="of somebody else")
    project.services.databricks.admin = False
    assert "as an admin of it" in refused()
    run("git", "remote", "set-url", "origin", "https://github.com/acme/other.git", cwd=project.root)
    project.services.provider.full_name = None
    assert "acme/other does not exist, or `gh auth status` names somebody who may not see it." in refused()
    run("git", "remote", "remove", "origin", cwd=project.root)
    assert "names no repository of a provider. Run this in a clone of one." in refused()
    code, printed = project.run("plan", "--target", "production")
    assert code == 2 and "choose from" in printed


def test_without_the_command_of_the_provider(make: Callable[..., Project]) -> None:
    project = make("github-actions")
    (path,) = Path(project.variables["CALLS"]).parent.glob("bin/gh*")
    path.unlink()
    if shutil.which("gh"):
        pytest.skip("gh is on the PATH")
    code, printed = project.run(*project.arguments("plan", "prod"))
    assert code == 1 and "gh is not on the PATH. docs/cicd-setup.md says where to get it." in printed
