"""How long it takes to look at many projects and to update them, beside cruft on the same projects.

Every project is a bare repository, so that each is cloned and pushed to. With as many renderings as projects no two
have the same answers, which is what an organisation has.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from argparse import ArgumentParser
from itertools import cycle, product
from pathlib import Path
from typing import NamedTuple

from measure import ROOT, print_table

sys.path.insert(0, str(ROOT))
from ml_template import render

PATTERNS = ("deploy-code", "deploy-model", "hybrid")
PROVIDERS = ("github-actions", "gitlab-ci", "azure-devops", "none")
IDENTITY = ("-c", "user.name=Ada", "-c", "user.email=ada@example.com", "-c", "commit.gpgsign=false")
SAMPLE = 10  # projects that cruft updates: it needs seconds for each
CRUFT_CHECK: list[str | Path] = [sys.executable, "-m", "cruft", "check"]


class Seconds(NamedTuple):
    """By the clock, and of the processor in all commands that have ended."""

    clock: float
    processor: float

    @classmethod
    def now(cls) -> "Seconds":
        ended = os.times()
        return cls(time.perf_counter(), ended.children_user + ended.children_system)

    def __sub__(self, start: "Seconds") -> "Seconds":
        return Seconds(self.clock - start.clock, self.processor - start.processor)


def git(folder: Path, *arguments: str) -> None:
    subprocess.run(["git", "-C", str(folder), *IDENTITY, *arguments], check=True, stdout=subprocess.DEVNULL)


def two_versions(folder: Path) -> Path:
    """Return a clone of this template that has one version more, which changes a few files of every project."""
    git(ROOT, "clone", "--quiet", str(ROOT), str(folder))
    project = folder / "{{cookiecutter.project_slug}}"
    for name in ("README.md", "hatch_build.py", "local/engine.py", "tests/unit/test_drift.py"):
        with (project / name).open("a", encoding="utf-8", newline="\n") as file:
            file.write("\n# Of the next version\n")
    (project / "docs" / "next.md").write_text("# Next\n", encoding="utf-8")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "Next version")
    git(folder, "tag", "v9.0.0")
    return folder


def make_projects(template: Path, number: int, renderings: int, folder: Path) -> list[Path]:
    """Return bare repositories with a project each, which its team has changed."""
    clone = render.clone(str(template), folder / "template")
    commit = render.resolve(clone, "HEAD~1")
    made = []
    for rendering, (pattern, provider) in zip(range(renderings), cycle(product(PATTERNS, PROVIDERS))):
        answers = {"project_name": f"Model {rendering}", "deployment_pattern": pattern, "ci_provider": provider}
        made.append(render.render(clone, commit, answers, folder / "rendered" / str(rendering)))
    repositories = []
    for index, project in zip(range(number), cycle(made)):
        own = folder / "own" / str(index)
        shutil.copytree(project, own)
        if index % 10 == 0:  # where the next version writes as well
            with (own / "README.md").open("a", encoding="utf-8", newline="\n") as file:
                file.write("\n## Contact\n\nAda.\n")
        with next(own.glob("src/*/problem/features.py")).open("a", encoding="utf-8", newline="\n") as file:
            file.write(f"\nTEAM = {index}\n")
        git(own, "init", "--quiet", "--initial-branch=main")
        git(own, "add", "--all")
        git(own, "commit", "--quiet", "--message", "The project")
        repositories.append(folder / "remote" / f"model-{index}.git")
        git(own, "clone", "--quiet", "--bare", str(own), str(repositories[-1]))
    return repositories


def run(command: list[str | Path], folder: Path) -> None:
    """Run a command, which may also say that something is left to decide, or that there is a newer template.

    Raises:
        SystemExit: if it fails.
    """
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    words = [str(word) for word in command]
    result = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, encoding="utf-8")
    if result.returncode not in (0, 3) and command[:4] != CRUFT_CHECK:
        sys.exit(f"{words}: {result.stdout}{result.stderr}")


def main() -> None:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--projects", type=int, default=100)
    parser.add_argument("--renderings", type=int, default=5)
    options = parser.parse_args()
    rows: list[tuple[object, ...]] = []
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        scratch = Path(name)
        template = two_versions(scratch / "of-the-organisation")
        repositories = make_projects(template, options.projects, options.renderings, scratch)
        (scratch / "projects.txt").write_text("\n".join(one.as_uri() for one in repositories), encoding="utf-8")
        clones = [scratch / one.stem for one in repositories]
        some = clones[:SAMPLE]
        status, update = (
            [sys.executable, "-m", "ml_template", "fleet", command, "projects.txt", "--work", "work"]
            for command in ("status", "update")
        )
        for what, number, commands in (
            ("git clone", len(clones), [(["git", "clone", "--quiet", one], scratch) for one in repositories]),
            ("fleet status", len(clones), [(status, scratch)]),
            ("fleet status, again", len(clones), [(status, scratch)]),
            ("fleet update --dry-run", len(clones), [([*update, "--dry-run"], scratch)]),
            ("fleet update", len(clones), [([*update, "--json", "results.json"], scratch)]),
            ("fleet update, again", len(clones), [(update, scratch)]),
            ("cruft check", len(some), [(CRUFT_CHECK, one) for one in some]),
            ("cruft update", len(some), [([*CRUFT_CHECK[:3], "update", "--skip-apply-ask"], one) for one in some]),
        ):
            start = Seconds.now()
            for command, folder in commands:
                run(command, folder)
            took = Seconds.now() - start
            rows.append((what, number, *(f"{one:.0f}" for one in took), f"{took.processor / number:.2f}"))
        outcomes = [one["outcome"] for one in json.loads((scratch / "results.json").read_text(encoding="utf-8"))]
    print_table(("command", "projects", "seconds", "processor seconds", "of it per project"), *rows)
    print(*(f"{outcomes.count(outcome)} {outcome}" for outcome in sorted(set(outcomes))), sep=", ")


if __name__ == "__main__":
    main()
