"""Lays the files of the chosen answers over the project, and says what to do next."""

import json
import shutil
from pathlib import Path

ANSWERS = json.loads(r"""{{ cookiecutter | tojson }}""")
OPTIONS = Path("_options")  # _options/<question>/<answer>/<the file's final path>


def lay(options):
    """Copy what was chosen to its final path; an overlay may hold options of its own."""
    for question in sorted(options.iterdir()) if options.exists() else []:
        chosen = question / ANSWERS[question.name]
        if chosen.exists():
            shutil.copytree(chosen, ".", dirs_exist_ok=True, ignore=shutil.ignore_patterns(OPTIONS.name))
            lay(chosen / OPTIONS.name)


def main():
    lay(OPTIONS)
    shutil.rmtree(OPTIONS, ignore_errors=True)
    print(
        f"""
{ANSWERS["project_name"]} is ready in {ANSWERS["project_slug"]}. Next:

  cd {ANSWERS["project_slug"]}
  uv sync                             sets up Python and the packages
  uv run pytest                       tests it
  uv run python -m local lifecycle    plays a model's whole life on this machine, without a workspace

docs/onboarding.md goes on from there.
"""
    )


main()
