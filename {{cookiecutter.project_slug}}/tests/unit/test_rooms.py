"""The rooms of the package: imports go one way, and nothing but `problem` names a column, a metric or a prediction."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from {{ cookiecutter.package_name }}.problem import features, metrics, model, source

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "{{ cookiecutter.package_name }}"
# From the bottom to the top: a module imports from its own room and from those below.
ROOMS = ["problem", "platform", "tasks", "models", "local", "lifecycle", "commands"]
# Words that the workflow itself uses. Where the problem uses one too, nobody can tell whose it is.
WORKFLOW = {
    *("rows", "version", "model", "metric", "feature", "value", "limit", "alarm", "number", "part", "position"),
    *("scores", "seconds", "date", "day", "name", "key", "status", "request", "response", "index", "time", "target"),
    *("type", "text", "label", "labels", "id", "environment", "reason", "method", "path", "shares", "edges", "values"),
}


def room(path: Path) -> str:
    """Return the room of a module: the folder below the package, or beside it; `python -m local` is above all."""
    if path.name == "__main__.py":
        return "commands"
    relative = path.relative_to(PACKAGE if PACKAGE in path.parents else ROOT)
    return relative.parts[0].removesuffix(".py")


def modules() -> dict[str, Path]:
    """Return the modules of all rooms, by their dotted names."""
    roots = {PACKAGE: PACKAGE.parent, ROOT / "local": ROOT, ROOT / "lifecycle": ROOT}
    return {
        ".".join(path.relative_to(base).with_suffix("").parts).removesuffix(".__init__"): path
        for folder, base in roots.items()
        for path in sorted(folder.rglob("*.py"))
    }


MODULES = modules()


def imported(name: str) -> Iterator[str]:
    """Yield the modules of the project that the module `name` imports, also inside functions."""
    path = MODULES[name]
    package = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            named = [module, *(f"{module}.{alias.name}" for alias in node.names)]
            yield from (each for each in named if each in MODULES)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in MODULES)


@pytest.mark.parametrize("name", [name for name, path in MODULES.items() if room(path) in ROOMS])
def test_imports_go_one_way(name: str) -> None:
    own = ROOMS.index(room(MODULES[name]))
    for other in imported(name):
        if (found := room(MODULES[other])) in ROOMS:
            assert ROOMS.index(found) <= own, f"{name} imports {other}"


def test_every_module_is_in_a_room() -> None:
    lost = {room(path) for path in MODULES.values()} - {*ROOMS, "__init__"}
    assert not lost, f"{', '.join(sorted(lost))}: in no room, one of {', '.join(ROOMS[:3])} is meant"


def test_no_two_modules_import_each_other() -> None:
    graph = {name: set(imported(name)) - {name} for name, path in MODULES.items() if path.name != "__init__.py"}

    def reaches(start: str, goal: str, seen: set[str]) -> bool:
        following = graph.get(start, set()) - seen
        return goal in following or any(reaches(each, goal, seen | following) for each in following)

    assert [name for name in graph if reaches(name, name, set())] == []


def names_of_the_problem() -> set[str]:
    names = {*source.COLUMNS, *features.FEATURES, *model.PREDICTION, *metrics.HIGHER_IS_BETTER, *metrics.PLOTS}
    return names - WORKFLOW


def named(code: str) -> set[str]:
    """Return the words of all strings that can name something: those without a blank, and SQL."""
    tree = ast.parse(code)
    sql = {"expr", "sql", "selectExpr", "where", "filter"}
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    queries = [argument for call in calls if getattr(call.func, "attr", "") in sql for argument in call.args]
    inside = [node for query in queries for node in ast.walk(query)]
    texts = [
        node.value
        for nodes, any_text in ((ast.walk(tree), False), (inside, True))
        for node in nodes
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and (any_text or not re.search(r"\s", node.value))
    ]
    return {word for text in texts for word in re.findall(r"\w+", text)}


OUTSIDE = [name for name, path in MODULES.items() if room(path) != "problem" and not name.startswith("local.adopt")]


@pytest.mark.parametrize("name", OUTSIDE)
def test_only_the_problem_names_what_is_predicted(name: str) -> None:
    """Another problem is another room: whatever else is written for a column is written once too often.

    `local.adopt` is not asked: it writes that room.
    """
    code = MODULES[name].read_text(encoding="utf-8")
    both = ", ".join(sorted(named(code) & names_of_the_problem()))
    assert not both, f"{both}: add to WORKFLOW what means something else here, move the rest to problem/"
    estimators = re.findall(r"^\s*(?:from|import) (?:sklearn|xgboost|lightgbm|torch)\b.*", code, re.MULTILINE)
    assert [line for line in estimators if "sklearn.inspection" not in line] == []


def test_a_name_of_the_problem_is_found_wherever_it_can_stand() -> None:
    assert named('F.col("one"), F.expr("two > 3"), f"known.{x}_four", "five words that say", {"six": 7}') == {
        *("one", "two", "3", "known", "_four", "six")
    }
