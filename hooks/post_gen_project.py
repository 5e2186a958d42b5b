"""Lays the files of the chosen answers over the project, and says what to do next."""

import json
import shutil
from pathlib import Path

ANSWERS = json.loads(r"""{{ cookiecutter | tojson }}""")
# Of cookiecutter's renderings. Cruft knows no `_repo_dir`, and writes the record itself.
ORIGIN = json.loads(
    r"""{{ (origin(cookiecutter._template) if cookiecutter._repo_dir is defined else none) | tojson }}"""
)
RECORD = Path(".cruft.json")
OPTIONS = Path("_options")  # _options/<question>/<answer>/<the file's final path>


def record():
    """Write down where the project comes from, in cruft's own format."""
    answers = {question: answer for question, answer in ANSWERS.items() if not question.startswith("_")}
    origin = {"_template": ORIGIN["template"], "_commit": ORIGIN["commit"], "_version": ANSWERS["_version"]}
    content = ORIGIN | {
        "checkout": ANSWERS["_checkout"],
        "context": {"cookiecutter": answers | origin},
        "directory": None,
    }
    RECORD.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8", newline="\n")


def lay(options):
    """Copy what was chosen to its final path; an overlay may hold options of its own."""
    for question in sorted(options.iterdir()) if options.exists() else []:
        chosen = question / ANSWERS[question.name]
        if chosen.exists():
            shutil.copytree(chosen, ".", dirs_exist_ok=True, ignore=shutil.ignore_patterns(OPTIONS.name))
            lay(chosen / OPTIONS.name)


def story():
    """Return what the lifecycle plays: where the champion is trained, and where it is received."""
    champions = ANSWERS["__champion_is"][ANSWERS["deployment_pattern"]]
    return ", ".join(f"{champions[environment]} in {environment}" for environment in ("dev", "staging", "prod"))


def main():
    lay(OPTIONS)
    shutil.rmtree(OPTIONS, ignore_errors=True)
    if ORIGIN:
        record()  # at the end: a folder without it is not a whole project
    pipelines = ", docs/cicd-setup.md with its pipelines" if Path("docs", "cicd-setup.md").exists() else ""
    print(
        f"""
The project is ready in {ANSWERS["project_slug"]}. Next:

  cd {ANSWERS["project_slug"]}
  uv sync                             sets up Python and the packages
  uv run pytest                       tests it
  uv run python -m local lifecycle    plays a model's whole life on this machine:
                                      {story()}

docs/onboarding.md goes on with your own data, docs/first-deployment.md with your workspaces{pipelines}.
"""
    )


main()
