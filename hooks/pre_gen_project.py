"""Refuses answers that cannot work: each problem in one sentence, with what to type instead."""

import json
import sys

PROBLEMS = json.loads(r"""{{ problems(cookiecutter) | tojson }}""")

if PROBLEMS:
    lines = [f"  {question}: {problem}" for question, problem in PROBLEMS.items()]
    sys.exit("\n".join(["These answers cannot work, so nothing was written:", *lines]))
