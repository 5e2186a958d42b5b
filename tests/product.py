"""Every combination of the answers that decide about files, rendered in this process: hooks included, no command."""

import contextlib
import io
from itertools import combinations as combinations_of
from itertools import product
from pathlib import Path
from typing import Any

import jinja2
from cookiecutter.generate import generate_context, generate_files
from cookiecutter.prompt import prompt_for_config
from helpers import CHOICES, ROOT, TARGETS, render_hook

# Answers that are given together, by a name for them: what a question with choices would offer.
TOGETHER: dict[str, dict[str, dict[str, str]]] = {
    "workspaces": {
        "three": {},
        "one": {f"{target}_workspace_host": "https://adb-4.4.azuredatabricks.net" for target in TARGETS},
    },
    "catalogs": {
        "plain": {},
        "dashed": {f"{target}_catalog": f"team-a-{target}" for target in TARGETS},
        "shared": {f"{target}_catalog": "team-a" for target in TARGETS} | {"schema_name": "fraud_{target}"},
    },
    "dashboard": {"without": {}, "with": {"sql_warehouse": "Serverless Starter Warehouse"}},
    "organisation": {
        "unknown": {},
        "known": {
            "tags": "cost-center=ml,owner=fraud team",
            "runner": "ml-runners",
            "package_index": "https://packages.example.com/simple",
            "proxy": "http://proxy.example.com:3128",
            "projects_folder": "projects",
        },
    },
}
OPTIONS = CHOICES | {name: list(answers) for name, answers in TOGETHER.items()}


def combinations() -> list[dict[str, str]]:
    """Return every combination of OPTIONS."""
    return [dict(zip(OPTIONS, chosen, strict=True)) for chosen in product(*OPTIONS.values())]


# Answers that change what files say, and not which there are.
WORDING = ("problem", "cloud", *TOGETHER)


def part_of_combinations() -> list[dict[str, str]]:
    """Return combinations in which all answers that decide about files meet, each time with two others of WORDING."""
    groups: dict[tuple[str, ...], list[dict[str, str]]] = {}
    for combination in combinations():
        key = tuple(answer for option, answer in combination.items() if option not in WORDING)
        groups.setdefault(key, []).append(combination)
    # 5 and 7 have no factor in common with their number, so all of them take turns.
    return [
        group[(5 * turn + 7 * number) % len(group)] for number, group in enumerate(groups.values()) for turn in range(2)
    ]


def covering_pairs() -> list[dict[str, str]]:
    """Return few combinations in which every two answers of different OPTIONS meet at least once: the greedy choice."""
    everything = combinations()
    missing = {pair for combination in everything for pair in pairs(combination)}
    chosen = []
    while missing:
        best = max(everything, key=lambda combination: len(pairs(combination) & missing))
        chosen.append(best)
        missing -= pairs(best)
    return chosen


def pairs(combination: dict[str, str]) -> set[tuple[tuple[str, str], tuple[str, str]]]:
    return set(combinations_of(combination.items(), 2))


def answers(combination: dict[str, str]) -> dict[str, str]:
    """Return the answers of the questions that a combination of OPTIONS stands for."""
    given: dict[str, str] = {}
    for option, chosen in combination.items():
        given |= TOGETHER[option][chosen] if option in TOGETHER else {option: chosen}
    return given


def context_of(given: dict[str, str]) -> dict[str, Any]:
    """Return all variables of the template for these answers, the derived ones among them."""
    context = generate_context(context_file=str(ROOT / "cookiecutter.json"), extra_context=dict(given))
    return dict(prompt_for_config(context, no_input=True))


def render(given: dict[str, str], folder: Path) -> Path:
    """Render a project below `folder` and return its path.

    Raises:
        SystemExit: with the message of the hook that refuses the answers.
    """
    context = context_of(given)
    run_hook("pre_gen_project.py", context)
    cookiecutter = context | {"_template": str(ROOT), "_repo_dir": str(ROOT), "_output_dir": str(folder)}
    project = Path(generate_files(str(ROOT), {"cookiecutter": cookiecutter}, str(folder), accept_hooks=False))
    with contextlib.chdir(project):
        run_hook("post_gen_project.py", context)
    return project


def compile_once() -> None:
    """Let Jinja compile each text once in this process, for good: most of the time of many renders goes there."""
    compiled: dict[tuple[Any, ...], Any] = {}
    compile_anew = jinja2.Environment.compile

    def compile_template(environment: jinja2.Environment, source: Any, *rest: Any, **named: Any) -> Any:
        key = (source, *rest, *sorted(named.items()))
        if key not in compiled:
            compiled[key] = compile_anew(environment, source, *rest, **named)
        return compiled[key]

    jinja2.Environment.compile = compile_template  # type: ignore[method-assign]


def run_hook(name: str, context: dict[str, Any]) -> None:
    source = render_hook(name, context)
    with contextlib.redirect_stdout(io.StringIO()):
        exec(compile(source, name, "exec"), {"__name__": "__main__"})
