"""Breaks the template in one place at a time, and sees which test notices: what the suite is worth.

    python tests/mutations.py [NAME ...]    all of them take about half an hour on two cores

Each works on a copy of the repository without the diffs of `tests/golden`, which notice any change and prove nothing.
It runs tests that should notice it, up to the first failure: some of the template, or those of a rendered project,
which `test_project.py` and its neighbours run. That test must pass without the mutation, or it does not count. A text
that is no longer in its file is an error here, never a success.
"""

import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from helpers import ROOT, SHARED, TEMPLATE, clean_environment, commit, run, sync
from product import render

PACKAGE = "src/{{cookiecutter.package_name}}"


@dataclass(frozen=True)
class Mutation:
    """One thing that is wrong."""

    name: str
    file: str  # below the template's project, or below the repository
    old: str = ""  # nothing: the file is deleted
    new: str = ""
    tests: tuple[str, ...] = ()  # files of the template; none: the project's own tests
    answers: dict[str, str] = field(default_factory=dict)  # of the project whose own tests should notice

    def make(self, copy: Path) -> None:
        """Break a copy of the repository.

        Raises:
            LookupError: if the text is not there exactly once, or the file is not there.
        """
        path = copy / TEMPLATE.name / self.file
        path = path if path.exists() else copy / self.file
        if not path.exists():
            raise LookupError(f"{self.name}: there is no {self.file}")
        if not self.old:
            path.unlink()
            return
        text = path.read_text(encoding="utf-8")
        if text.count(self.old) != 1:
            raise LookupError(f"{self.name}: {self.file} has {text.count(self.old)} times {self.old!r}")
        path.write_text(text.replace(self.old, self.new), encoding="utf-8", newline="\n")


RECEIVES = {"deployment_pattern": "deploy-model", "inference": "batch-and-realtime", "ci_provider": "none"}
OPTIONS = "_options"
GITHUB, AZURE, GITLAB = (f"{OPTIONS}/ci_provider/{name}" for name in ("github-actions", "azure-devops", "gitlab-ci"))

MUTATIONS = [
    # Hooks and questions
    Mutation(
        "no address for mails is refused",
        "template_answers.py",
        'if not is_visible(answer) or not EMAIL.fullmatch(answer) or "${" in answer:',
        "if not answer:",
        ("tests/test_questions.py",),
    ),
    Mutation(
        "options within options are forgotten",
        "hooks/post_gen_project.py",
        "            lay(chosen / OPTIONS.name)\n",
        "",
        ("tests/test_rendered.py",),
    ),
    # Templates
    Mutation("an overlay is deleted", f"{OPTIONS}/__realtime/no/local/variables.py", tests=("tests/test_rendered.py",)),
    Mutation(
        "prod is deployed as development",
        "databricks.yml",
        "  prod:\n    mode: production",
        "  prod:\n    mode: development",
        ("tests/test_patterns.py",),
    ),
    Mutation(
        "approvers may not start the jobs of prod",
        "databricks.yml",
        '        - {group_name: "${var.model_approvers_group}", level: CAN_MANAGE_RUN}\n',
        "",
        ("tests/test_patterns.py",),
    ),
    Mutation(
        "training in dev starts by itself",
        "resources/training.job.yml",
        'pause_status: {{ "PAUSED" if target == "dev" else "UNPAUSED" }}',
        "pause_status: UNPAUSED",
        ("tests/test_patterns.py",),
    ),
    Mutation(
        "a task that may not be repeated is repeated",
        "templates/compute/serverless.jinja",
        "disable_auto_optimization: true #",
        "disable_auto_optimization: false #",
        ("tests/test_bundle.py",),
    ),
    # Problem
    Mutation(
        "less average precision is better",
        f"{OPTIONS}/problem/binary-classification/{PACKAGE}/problem/metrics.py",
        '"average_precision": True',
        '"average_precision": False',
    ),
    Mutation(
        "a feature sees its own row",
        f"{OPTIONS}/problem/binary-classification/{PACKAGE}/problem/features.py",
        "card.rangeBetween(-int(LOOKBACK.total_seconds()), -1)",
        "card.rangeBetween(-int(LOOKBACK.total_seconds()), 0)",
    ),
    # Tasks
    Mutation(
        "the gate compares the wrong way",
        f"{PACKAGE}/tasks/validate.py",
        ">= -tolerance",
        "<= -tolerance",
    ),
    Mutation("broken data is trained on", f"{PACKAGE}/tasks/check_data.py", "    if problems:", "    if not problems:"),
    Mutation(
        "no drift is an alarm",
        f"{PACKAGE}/tasks/monitor.py",
        "moved > limits.max_psi)",
        "False)",
    ),
    Mutation(
        "scores go to the rows in another order",
        f"{OPTIONS}/__batch/yes/{PACKAGE}/tasks/predict.py",
        "reshape(len(inputs), -1))",
        "reshape(len(inputs), -1)[::-1])",
    ),
    Mutation(
        "a received version keeps the tags of its source",
        f"{OPTIONS}/__prod_champion/received/{PACKAGE}/tasks/receive.py",
        "for name, value in source.tags.items() if name in registry.LINEAGE}",
        "for name, value in source.tags.items()}",
        ("tests/test_faults.py",),
    ),
    Mutation(
        "an approval holds for whatever comes",
        f"{OPTIONS}/__prod_champion/received/{PACKAGE}/tasks/approval.py",
        '    if not approved_evidence or tags.get("source_evidence") != approved_evidence:',
        "    if not approved_evidence:",
        ("tests/test_faults.py",),
    ),
    # Platform
    Mutation(
        "the champion before is forgotten",
        f"{PACKAGE}/platform/registry.py",
        "            client.set_registered_model_alias(model, PREVIOUS, champion.version)\n",
        "            pass\n",
    ),
    Mutation(
        "a rollback goes to the same version",
        f"{PACKAGE}/platform/registry.py",
        "client.set_registered_model_alias(model, CHAMPION, previous.version)",
        "client.set_registered_model_alias(model, CHAMPION, champion.version)",
    ),
    Mutation(
        "the holdout is trained on",
        f"{PACKAGE}/platform/data.py",
        "return Part(rows.where(group < F.lit(first)), trained_on)",
        "return Part(rows, trained_on)",
    ),
    Mutation(
        "labels of the future are known",
        f"{PACKAGE}/platform/data.py",
        "if known := source.LABEL_TIME or source.TIME:",
        "if known := source.TIME:",
    ),
    Mutation(
        "an endpoint that does not answer gets the traffic",
        f"{OPTIONS}/__realtime/yes/{PACKAGE}/platform/serving.py",
        "            self.query()\n            self.permit(endpoint)\n            self.record(self.shift(",
        "            self.permit(endpoint)\n            self.record(self.shift(",
        answers=RECEIVES,
    ),
    # Laptop and lifecycle
    Mutation(
        "the laptop runs what a condition excludes",
        "local/jobs.py",
        'self._run_task(key, task) if self._wanted(task) else "excluded"',
        "self._run_task(key, task)",
        ("tests/test_project.py", "-k", "lifecycle_tells and deploy-code"),
    ),
    Mutation(
        "the lifecycle keeps no promise",
        "lifecycle/story.py",
        "        if not holds:\n",
        "        if not text:\n",
        ("tests/test_rendered.py", "-k", "promise"),
    ),
    # Set-up outside the bundle
    Mutation(
        "tokens for anybody are taken",
        f"{GITHUB}/environments/provider.py",
        '"audiences": [self.account]',
        '"audiences": ["sts.amazonaws.com"]',
        ("tests/test_environments.py", "-k", "from_nothing"),
    ),
    Mutation(
        "nobody has too many rights",
        "environments/rights.py",
        "if extra and who not in trusted:",
        "if extra and who in trusted:",
        ("tests/test_environments.py",),
    ),
    # Releases
    Mutation(
        "a release by hand asks nobody",
        f"{OPTIONS}/ci_provider/none/release.py",
        "    if not name:\n",
        "    if name is None:\n",
        ("tests/test_by_hand.py",),
    ),
    Mutation(
        "prod gets a wheel of its own",
        f"{OPTIONS}/ci_provider/none/release.py",
        "step(*command, BUNDLE_VAR_code_approved_by=approved_by, BUNDLE_VAR_build=package)",
        "step(*command, BUNDLE_VAR_code_approved_by=approved_by)",
        ("tests/test_by_hand.py",),
    ),
    Mutation(
        "an action is not pinned",
        f"{GITHUB}/.github/workflows/operate.yml",
        "actions/checkout@3d3c42e5aac5ba805825da76410c181273ba90b1 # v7.0.1",
        "actions/checkout@v7",
        ("tests/test_github.py", "-k", "pinned"),
    ),
    Mutation(
        "prod waits for nobody on GitLab",
        f"{GITLAB}/.gitlab-ci.yml",
        "when: manual # whoever presses play approves",
        "when: on_success # whoever presses play approves",
        ("tests/test_gitlab.py", "-k", "deployments_have_their_own_identity_and_wait_for_each_other"),
    ),
    Mutation(
        "whoever starts a release approves it on Azure",
        f"{AZURE}/azure-pipelines/approver.sh",
        "select(.id != $starter) | ",
        "",
        ("tests/test_releases.py", "-k", "azure and without_an_approval"),
    ),
    # Dashboard
    Mutation(
        "a query of the dashboard has lost a column",
        f"{OPTIONS}/__dashboard/yes/resources/dashboard.lvdash.json",
        "END), 4) AS psi,",
        "END), 4) AS moved,",
        answers={"sql_warehouse": "Shared"},
    ),
    # Documents
    Mutation(
        "a link leads nowhere",
        "docs/operations.md",
        "(promotion.md#when-it-stops)",
        "(promotion.md#when-it-halts)",
        ("tests/test_rendered.py",),
    ),
]


def tested(copy: Path, tests: tuple[str, ...], answers: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run tests of the template in a copy of it, or without any the tests of a project that is rendered from it."""
    options = (
        "-x",
        "-q",
        "-rfE",
        "-p",
        "no:cacheprovider",
        "--basetemp",
        str(copy.with_name(f"{copy.name}-temporary")),
    )
    if tests and not tests[0].startswith("project/"):
        command = (sys.executable, "-m", "pytest", *options, *tests)
    else:
        given = json.dumps(answers), str(SHARED["folder"]), *options, *(test.removeprefix("project/") for test in tests)
        command = (sys.executable, str(copy / "tests" / "mutations.py"), "--project", *given)
    return run(*command, cwd=copy, timeout=3000)


def project_tests(answers: str, shared: str, *arguments: str) -> int:
    """Render a project, run its tests, and return the exit code of pytest."""
    SHARED["folder"] = Path(shared)
    with tempfile.TemporaryDirectory() as folder:
        project = render(json.loads(answers), Path(folder))
        commit(project)
        sync(project)
        command = ["uv", "run", "pytest", *arguments]
        return subprocess.run(command, cwd=project, env=clean_environment()).returncode


def noticed(mutation: Mutation, folder: Path, clean: Path) -> str:
    """Return the first test that fails because of the mutation; nothing if none does.

    Raises:
        LookupError: if the mutation, or what should notice it, cannot be tried.
    """
    copy = Path(shutil.copytree(clean, folder / "mutated"))
    try:
        mutation.make(copy)
        result = tested(copy, mutation.tests, mutation.answers)
    finally:
        shutil.rmtree(copy)
    if result.returncode == 0:
        return ""
    found = re.search(r"^(?:FAILED|ERROR) (\S+?\.py(?:::\S+)?)", result.stdout, re.MULTILINE)
    if result.returncode != 1 or found is None:
        raise LookupError(f"{mutation.name}: no test ran\n{result.stdout[-3000:]}")
    test = found[1] if mutation.tests else f"project/{found[1]}"
    without = tested(clean, (test,), mutation.answers)
    if without.returncode:
        raise LookupError(f"{mutation.name}: {test} fails without it as well\n{without.stdout[-3000:]}")
    return test


def main() -> None:
    if sys.argv[1:2] == ["--project"]:
        sys.exit(project_tests(*sys.argv[2:]))
    wanted = [mutation for mutation in MUTATIONS if not sys.argv[1:] or mutation.name in sys.argv[1:]]
    missed = 0
    print("| mutation | noticed by | seconds |\n|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        SHARED["folder"] = folder / "shared"
        SHARED["folder"].mkdir()
        ignored = shutil.ignore_patterns(".*_cache", "__pycache__", ".git", ".venv", "build", "*.diff")
        clean = Path(shutil.copytree(ROOT, folder / "clean", ignore=ignored))
        for mutation in wanted:
            start = time.perf_counter()
            try:
                test = noticed(mutation, folder, clean) or "**none**"
            except LookupError as error:
                print(error, file=sys.stderr)
                test = "**error**"
            missed += test.startswith("**")
            print(f"| {mutation.name} | {test} | {time.perf_counter() - start:.0f} |", flush=True)
    print(f"\n{len(wanted) - missed} of {len(wanted)} were noticed.")
    sys.exit(missed > 0)


if __name__ == "__main__":
    main()
