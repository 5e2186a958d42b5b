"""The commands of this repository, on every system: sets up .venv, then runs one of them.

    python tasks.py demo|test|test-fast|lint|benchmark|render|examples|site|golden|fork|release

Needs Python 3.11 or newer and nothing else. The Makefile calls this file.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from argparse import ArgumentParser
from datetime import date
from pathlib import Path

if sys.version_info < (3, 11):  # noqa: UP036 - whoever starts this file may have an older one
    sys.exit(f"Python 3.11 or newer is needed, this is {sys.version.split()[0]}. Start this file with a newer one.")

import tomllib

ROOT = Path(__file__).resolve().parent
BUILD = ROOT / "build"
ORGANISATION = ROOT / "organisation.yml"  # of a fork, see docs/organisation.md
FORM_DEFAULT = "(default)"  # what a list of the form in the browser begins with
VENV = ROOT / ".venv"
SCRIPTS = VENV / ("Scripts" if os.name == "nt" else "bin")
PYTHON = SCRIPTS / ("python.exe" if os.name == "nt" else "python")


def run(*command: str | Path, cwd: Path = ROOT, **variables: str) -> None:
    """Run `command` with the programs of .venv first on the PATH, and with these variables.

    Raises:
        SystemExit: with the code of the command if it fails.
    """
    environment = os.environ | {"PATH": os.pathsep.join([str(SCRIPTS), os.environ.get("PATH", "")])} | variables
    environment.pop("VIRTUAL_ENV", None)
    if sys.version_info < (3, 13):  # fits the rendered projects, so uv need not look for or download another one
        environment = {"UV_PYTHON": sys.executable, "UV_PYTHON_DOWNLOADS": "never"} | environment
    # The full path, because Windows looks programs up in the PATH of this process, not in the one given here.
    program = shutil.which(command[0], path=environment["PATH"]) or command[0]
    code = subprocess.run([program, *command[1:]], cwd=cwd, env=environment).returncode
    if code:
        sys.exit(code)


def set_up() -> None:
    """Make .venv with the packages of pyproject.toml and its `dev` group, unless it is there already. Programs that the
    tests need and this machine lacks come along."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    groups = settings["dependency-groups"]
    requirements = settings["project"]["dependencies"] + groups["dev"]
    requirements += groups["npm"] if shutil.which("npm") is None else []
    installed = VENV / "installed.json"
    if PYTHON.exists() and installed.exists() and json.loads(installed.read_text(encoding="utf-8")) == requirements:
        return
    print("Setting up .venv", flush=True)
    if not PYTHON.exists():
        run(sys.executable, "-m", "venv", "--clear", VENV)
    run(PYTHON, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *requirements)
    installed.write_text(json.dumps(requirements), encoding="utf-8")


def lint() -> None:
    run("ruff", "check", ".")
    run("ruff", "format", "--check", ".")


def test(*arguments: str) -> None:
    """Check the style and run the tests. `arguments` go to pytest."""
    lint()
    # One more than there are cores, because many tests wait for servers and programs.
    run("pytest", "-n", str((os.cpu_count() or 1) + 1), "--durations=25", *arguments)


# What is seen in rendered files alone, without a command of the project.
FAST = ("test_rendered", "test_questions", "test_patterns", "test_bundle", "test_golden")


def test_fast(*arguments: str) -> None:
    """Check the style, and in less than a minute what is rendered: for each commit."""
    test("-m", "not slow", *(str(Path("tests", f"{name}.py")) for name in FAST), *arguments)


def render(*answers: str) -> Path:
    """Render a project into build/, which is emptied first, and return its folder.

    Answers come as `question=answer` and, for the render workflow, as a JSON object in the variable ANSWERS. Empty ones
    take the default: that of organisation.yml, if this repository has one, or else that of the template.
    """
    given = json.loads(os.environ.get("ANSWERS", "{}"))
    answers += tuple(f"{question}={answer}" for question, answer in given.items() if answer not in ("", FORM_DEFAULT))
    config = ("--config-file", ORGANISATION) if ORGANISATION.exists() else ()
    shutil.rmtree(BUILD, ignore_errors=True)
    run("cookiecutter", ROOT, "--no-input", *config, "--output-dir", BUILD, *answers)
    (project,) = BUILD.iterdir()
    return project


def demo(*answers: str) -> None:
    """Render a project with the defaults, or with these answers, and play its whole lifecycle."""
    project = render(*answers)
    run("uv", "sync", cwd=project)
    run("uv", "run", "python", "-m", "local", "lifecycle", cwd=project)


def examples() -> None:
    """Render a project with each pattern into build/examples, with a page that leads to them."""
    folder, links = BUILD / "examples", ""
    shutil.rmtree(folder, ignore_errors=True)
    for pattern in json.loads((ROOT / "cookiecutter.json").read_text(encoding="utf-8"))["deployment_pattern"]:
        options = ("--no-input", "--default-config", "--output-dir", folder / pattern)  # nobody's own defaults
        run("cookiecutter", ROOT, *options, f"deployment_pattern={pattern}")
        (project,) = (folder / pattern).iterdir()
        links += f"- [{pattern}]({project.relative_to(folder).as_posix()})\n"
    page = f"# Examples\n\nA project with each pattern, as [the template]({repository()}) renders it:\n\n{links}"
    (folder / "README.md").write_text(page, encoding="utf-8", newline="\n")


def site() -> None:
    """Write the documentation as a site into build/site."""
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["dependency-groups"]
    packages = [argument for package in groups["site"] for argument in ("--with", package)]
    command = ("mkdocs", "build", "--quiet", "--strict")
    # The notice is about the end of the theme, which pyproject.toml tells.
    run("uv", "run", "--isolated", "--no-project", *packages, *command, NO_MKDOCS_2_WARNING="1")


def benchmark() -> None:
    for script in ("render.py", "lifecycle.py", "scoring.py", "fleet.py"):
        run(PYTHON, Path("benchmarks", script))


def golden() -> None:
    """Write tests/golden and docs/questions.md anew: what the template gives, to be read in a review."""
    run(PYTHON, Path("tests", "golden_tree.py"))
    run(PYTHON, Path("tests", "questions_page.py"))


def repository() -> str:
    """Return the address of this repository, which stands in pyproject.toml and is repeated in what names it."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    return settings["project"]["urls"]["Repository"]


def fork(address: str = "", before: str = "") -> None:
    """Write `address`, where people find this repository, into every file that names it.

    Args:
        before: the address that they name now. Default: the one in pyproject.toml.

    Raises:
        SystemExit: if it is no address of a repository, or git finds no file.
    """
    after = address.removesuffix("/").removesuffix(".git")
    if not re.fullmatch(r"https://[\w.:-]+(/[\w.~%-]+)+", after):
        sys.exit(
            f"{address or 'Nothing'} is no address of a repository. Type the one that people clone: "
            "python tasks.py fork https://github.com/us/ml-template"
        )
    before = before or repository()
    command = ["git", "grep", "--null", "--files-with-matches", "--fixed-strings", before]
    found = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, encoding="utf-8")
    if found.returncode:
        sys.exit(f"No file names {before}, or this is no clone. Type the command in a clone of the repository.")
    for name in found.stdout.split("\0")[:-1]:
        text = (ROOT / name).read_text(encoding="utf-8")
        # A longer name is another repository.
        text = re.sub(rf"{re.escape(before)}(?![\w-])", lambda _: after, text)
        (ROOT / name).write_text(text, encoding="utf-8", newline="\n")
        print(name)


# What says what is new, and what to write there.
NOTES = {"CHANGELOG.md": "what changed", "docs/upgrading.md": "what a person has to do, or that there is nothing to do"}
UNRELEASED = "## Unreleased\n"


def release(version: str) -> None:
    """Give what is unreleased the number `version`, in all files that say it, and print what is left to type.

    Raises:
        SystemExit: if that is no later version, or there is nothing to read about it.
    """
    texts = {
        name: (ROOT / name).read_text(encoding="utf-8") for name in ("pyproject.toml", "cookiecutter.json", *NOTES)
    }
    before = tomllib.loads(texts["pyproject.toml"])["project"]["version"]
    if not re.fullmatch(r"\d+\.\d+\.\d+", version) or parts(version) <= parts(before):
        sys.exit(f"{version} is no version after {before}. Type three numbers, such as 0.2.0.")
    for name, advice in NOTES.items():
        start, _, rest = texts[name].partition(UNRELEASED)
        if rest.partition("\n## ")[0].strip():
            texts[name] = f"{start}{UNRELEASED}\n## {version} - {date.today()}\n{rest}"
        elif name == "CHANGELOG.md" or version.endswith(".0"):
            sys.exit(f'{name} has nothing under "Unreleased". Write there {advice}.')
    for name, line in (("pyproject.toml", '\nversion = "{}"'), ("cookiecutter.json", '"_version": "{}"')):
        texts[name] = texts[name].replace(line.format(before), line.format(version))
    for name, text in texts.items():
        (ROOT / name).write_text(text, encoding="utf-8", newline="\n")
    print(
        f"The files say {version}. Write the golden projects anew, run the tests, merge, and on that commit of main:\n"
    )
    print(f"  git tag --annotate v{version} --message v{version}\n  git push origin v{version}")


def parts(version: str) -> list[int]:
    return list(map(int, version.split(".")))


TASKS = {
    task.__name__.replace("_", "-"): task
    for task in (demo, test, test_fast, lint, benchmark, render, examples, site, golden, fork, release)
}


def main() -> None:
    parser = ArgumentParser(description=__doc__.splitlines()[0], usage="python tasks.py TASK [ARGUMENT ...]")
    parser.add_argument("task", choices=TASKS)
    arguments, rest = parser.parse_known_args()
    set_up()
    TASKS[arguments.task](*rest)


if __name__ == "__main__":
    main()
