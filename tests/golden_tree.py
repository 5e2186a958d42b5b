"""What users get, kept under tests/golden: the default project, and what each other answer changes.

    python tasks.py golden

writes it anew. A reviewer of a change of the template reads there what it changes in every project.
"""

import difflib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from helpers import ROOT, files
from product import OPTIONS, answers, render

GOLDEN = ROOT / "tests" / "golden"
DEFAULT = {option: chosen[0] for option, chosen in OPTIONS.items()}
# Answers that are held against the one which they resemble most; the others against the default.
AGAINST = {"hybrid": "deploy-model", "batch-and-realtime": "realtime"}


def golden(scratch: Path) -> dict[str, str]:
    """Return what tests/golden should hold, by path: `default/<file>`, and `<question>-<answer>.diff`.

    An answer that is held against another one than the default says so: `<question>-<answer>-against-<answer>.diff`.

    Args:
        scratch: an empty folder to render in.
    """
    default = tree(DEFAULT, scratch / "default")
    kept = {f"default/{name}": text for name, text in default.items()}
    for option, chosen in OPTIONS.items():
        trees = {chosen[0]: default}
        for answer in chosen[1:]:
            trees[answer] = tree(DEFAULT | {option: answer}, scratch / f"{option}-{answer}")
            before = AGAINST.get(answer, chosen[0])
            chained = f"-against-{before}" if answer in AGAINST else ""
            kept[f"{option}-{answer}{chained}.diff"] = "".join(difference(before, trees[before], trees[answer]))
    return kept


def tree(combination: dict[str, str], folder: Path) -> dict[str, str]:
    folder.mkdir()
    return {name: content.decode("utf-8") for name, content in files(render(answers(combination), folder)).items()}


def difference(answer: str, one: dict[str, str], other: dict[str, str]) -> Iterator[str]:
    """Yield a unified diff of one project, that of `answer`, and another. Of a file that is gone it gives the name."""
    for name in sorted(one.keys() | other.keys()):
        if name not in other:
            yield f"Only in {answer}: {name}\n"
            continue
        before = one.get(name, "").splitlines(keepends=True)
        yield from difflib.unified_diff(
            before, other[name].splitlines(keepends=True), name if name in one else "/dev/null", name, n=1
        )


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        kept = golden(Path(scratch))
    shutil.rmtree(GOLDEN, ignore_errors=True)
    for name, text in kept.items():
        path = GOLDEN / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
