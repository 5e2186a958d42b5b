"""What the tests share: the template's questions, the combinations that are rendered, and how a project is read."""

import contextlib
import hashlib
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from itertools import cycle, product
from pathlib import Path
from types import ModuleType
from typing import Any
from zipfile import ZipFile

import pytest
import yaml
from cookiecutter.utils import create_env_with_context

# libyaml is ten times as fast. The reader of a rendered project, which is imported here, gets it as well.
yaml.SafeLoader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # type: ignore[misc]

ROOT = Path(__file__).parents[1]
sys.path.append(str(ROOT))  # where the commands of cookiecutter and cruft find the extension of the template
TEMPLATE = ROOT / "{{cookiecutter.project_slug}}"
TARGETS = ("dev", "staging", "prod")
COOKIECUTTER: dict[str, Any] = json.loads((ROOT / "cookiecutter.json").read_text(encoding="utf-8"))
QUESTIONS = {name: default for name, default in COOKIECUTTER.items() if not name.startswith("_")}
CHOICES = {question: answers for question, answers in QUESTIONS.items() if isinstance(answers, list)}
PATTERNS = CHOICES["deployment_pattern"]
SHORT = {"deployment_pattern": "pattern", "ci_provider": "ci", "sql_warehouse": "warehouse"}


def case(**answers: str) -> Any:
    """Return the answers as a parameter of a test, with an id such as `pattern:hybrid-ci:none`."""
    return pytest.param(answers, id="-".join(f"{SHORT.get(name, name)}:{answer}" for name, answer in answers.items()))


# Each pattern with each CI provider, and with each way to use the model, and a dashboard; the rest takes turns.
COMBINATIONS = [
    {"deployment_pattern": pattern, "ci_provider": ci, "cloud": cloud}
    for (pattern, ci), cloud in zip(product(PATTERNS, CHOICES["ci_provider"]), cycle(CHOICES["cloud"]), strict=False)
] + [
    {
        "deployment_pattern": pattern,
        "ci_provider": ci,
        "inference": inference,
        "problem": problem,
        "sql_warehouse": "Shared",
    }
    for (inference, pattern), ci, problem in zip(
        product(CHOICES["inference"][1:], PATTERNS),
        cycle(CHOICES["ci_provider"]),
        cycle(CHOICES["problem"][1:]),
        strict=False,
    )
]
every_combination = pytest.mark.parametrize("answers", [case(**answers) for answers in COMBINATIONS])
every_pattern = pytest.mark.parametrize("pattern", PATTERNS, ids=lambda pattern: f"pattern:{pattern}")
every_inference = pytest.mark.parametrize("inference", CHOICES["inference"], ids=lambda answer: f"inference:{answer}")
every_target = pytest.mark.parametrize("target", TARGETS, ids=lambda target: f"target:{target}")


# Also what takes minutes more and seldom fails alone, as on GitHub.
WHOLE_PRODUCT = bool(os.environ.get("WHOLE_PRODUCT"))

# Where the processes of this test run share what is expensive to make: conftest.py says where that is.
SHARED: dict[str, Path] = {}

# The record of a rendering names every answer and the commit of the template, so no two projects have the same.
RECORD = ".cruft.json"
# What tools leave in a working copy of the template. Git ignores it, so it reaches nobody's project.
CACHES = {"__pycache__", ".mypy_cache", ".pytest_cache", ".ruff_cache"}


# The rules of yamllint, with longer lines, and comments that may stand close behind a value.
YAMLLINT = [
    *(sys.executable, "-m", "yamllint", "--strict", "--config-data"),
    "{extends: default, rules: {line-length: {max: 130}, document-start: disable, "
    "comments: {min-spaces-from-content: 1}, truthy: {check-keys: false}}}",  # `on` is a key of GitHub's
]


def files(folder: Path) -> dict[str, bytes]:
    """Return the content of every file below `folder` but its record, by its path with forward slashes."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path != folder / RECORD and not CACHES & set(path.parts)
    }


def bundle_reader(project: Path) -> ModuleType:
    """Return the project's own `local/bundle.py`, imported under a name of its own."""
    name = f"bundle_of_{uuid.uuid4().hex}"
    spec = importlib.util.spec_from_file_location(name, project / "local" / "bundle.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def load_bundle(project: Path, target: str) -> dict[str, Any]:
    """Return the bundle of `target` as the project's own reader sees it."""
    return bundle_reader(project).load_bundle(project, target)


def bundle_files(project: Path) -> dict[str, Any]:
    """Return the parsed bundle files, by their path in the project."""
    paths = [project / "databricks.yml", *sorted((project / "resources").glob("*.yml"))]
    return {path.relative_to(project).as_posix(): yaml.safe_load(path.read_text(encoding="utf-8")) for path in paths}


def strings(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield every string in nested dictionaries and lists, with the way to it. List items are named by their name."""
    if isinstance(value, dict):
        for key, element in value.items():
            yield from strings(element, (*path, str(key)))
    elif isinstance(value, list):
        for number, element in enumerate(value):
            name = element.get("name", element.get("task_key", number)) if isinstance(element, dict) else number
            yield from strings(element, (*path, str(name)))
    elif isinstance(value, str):
        yield path, value


def render_hook(name: str, answers: dict[str, Any]) -> str:
    """Return the source of a hook, with the answers that cookiecutter would hand to it."""
    source = (ROOT / "hooks" / name).read_text(encoding="utf-8")
    environment = create_env_with_context({"cookiecutter": answers})
    return environment.from_string(source).render(cookiecutter=answers)


def clean_environment(**variables: str) -> dict[str, str]:
    """Return the environment for a command in a project: no virtual environment and no Databricks settings of ours."""
    ours = re.compile(
        r"VIRTUAL_ENV|PYTHONPATH|PYTEST_.*|DATABRICKS_.*|BUNDLE_.*|MLFLOW_.*|SPARK_.*|UV_PROJECT.*"
        # A program compiles MLflow anew at each start without it: 8 s of processor time instead of 4 s.
        r"|PYTHONDONTWRITEBYTECODE"
    )
    inherited = {name: value for name, value in os.environ.items() if not ours.fullmatch(name)}
    patient = {"UV_HTTP_TIMEOUT": "180", "UV_HTTP_RETRIES": "10"}  # several projects ask the registry at once
    one_thread = {"OMP_NUM_THREADS": "1"}  # of scikit-learn: more would only wait for each other on small data
    return patient | inherited | one_thread | {"UV_PYTHON_DOWNLOADS": "never"} | variables


def need(*programs: str, unix: str = "") -> None:
    """Skip the test unless all of these programs are on the PATH.

    Args:
        unix: what needs a system other than Windows, if anything does.
    """
    if unix and sys.platform == "win32":
        pytest.skip(f"{unix} need a system other than Windows")
    if missing := [program for program in programs if shutil.which(program) is None]:
        pytest.skip(f"not on the PATH: {', '.join(missing)}")


def run(*command: str | Path, cwd: Path, timeout: float = 600, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run `command` in a project and return what it printed, standard error joined with standard output.

    Args:
        timeout: in seconds.
    """
    return subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=clean_environment(**variables),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        timeout=timeout,
    )


def lock(project: Path, *arguments: str, **variables: str) -> None:
    """Write the lock file of a project, as `uv sync` does; skip the test where no package registry can be reached.

    Without arguments, projects with the same pyproject.toml get the same file: uv need not ask the registry again.
    """
    file, kept = project / "uv.lock", SHARED["folder"] / f"{of_pyproject(project)}.lock"
    asked = bool(arguments or variables)
    if not asked and kept.exists() and not file.exists():
        shutil.copyfile(kept, file)
    result = run("uv", "lock", *arguments, cwd=project, **variables)
    if re.search("error sending request|dns error|Failed to fetch", result.stdout):
        pytest.skip("no package registry can be reached")
    assert result.returncode == 0, result.stdout
    if not asked and not kept.exists():
        mine = kept.with_suffix(f".{os.getpid()}")
        shutil.copyfile(file, mine)
        mine.replace(kept)


def sync(project: Path) -> None:
    """Do what `uv sync` does in a project, with packages that are linked into place and compiled already.

    Projects with the same pyproject.toml share them. A test may install others, which changes no file in place.
    """
    lock(project)
    shared = SHARED["folder"] / of_pyproject(project)
    with alone(shared):
        environment = shared / ".venv"
        if not (shared / "complete").exists():
            for name in ("pyproject.toml", "uv.lock"):
                shutil.copyfile(project / name, shared / name)
            for command in (
                ("uv", "venv", "--quiet", "--clear", "--relocatable"),
                ("uv", "sync", "--quiet", "--locked", "--no-install-project"),
                ("uv", "run", "--no-sync", "python", "-c", COMPILED),
            ):
                result = run(*command, cwd=shared)
                assert result.returncode == 0, result.stdout
            (shared / "complete").touch()
    shutil.copytree(environment, project / ".venv", symlinks=True, copy_function=os.link)
    result = run("uv", "sync", cwd=project)
    assert result.returncode == 0, result.stdout


# What programs of a rendered project import.
COMPILED = """\
import matplotlib.pyplot, mlflow.pyfunc, mlflow.server, mlflow.sklearn, pyspark.sql.connect.session, pytest
import mlflow.store.model_registry.sqlalchemy_store, mlflow.store.tracking.sqlalchemy_store, sklearn.ensemble
"""


def of_pyproject(project: Path) -> str:
    """Return a name for what a project asks uv for."""
    return hashlib.sha256((project / "pyproject.toml").read_bytes()).hexdigest()[:16]


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Make `folder`, and let only one process of the test run at a time do what follows.

    Raises:
        TimeoutError: if that takes another one more than ten minutes.
    """
    folder.mkdir(exist_ok=True)
    busy, latest = folder / "busy", time.monotonic() + 600
    while True:
        try:
            busy.mkdir()
            break
        except FileExistsError:
            if time.monotonic() > latest:
                raise TimeoutError(f"another process is still busy in {folder}") from None
            time.sleep(0.1)
    try:
        yield
    finally:
        busy.rmdir()


def commit(project: Path) -> str:
    """Put the project under git, and return the commit."""
    identity = ("-c", "user.name=tester", "-c", "user.email=tester@example.com", "-c", "commit.gpgsign=false")
    for arguments in (("init", "--quiet"), ("add", "--all"), (*identity, "commit", "--quiet", "--message", "start")):
        result = run("git", *arguments, cwd=project)
        assert result.returncode == 0, result.stdout
    return run("git", "rev-parse", "HEAD", cwd=project).stdout.strip()


def offer_uv(folder: Path) -> None:
    """Put a package into `folder` that has the name and the version of the uv that pipelines install."""
    of_uv = "uv-0.13.9.dist-info"
    with ZipFile(folder / "uv-0.13.9-py3-none-any.whl", "w") as content:
        content.writestr(f"{of_uv}/METADATA", "Metadata-Version: 2.1\nName: uv\nVersion: 0.13.9\n")
        content.writestr(f"{of_uv}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        content.writestr(f"{of_uv}/RECORD", "")
