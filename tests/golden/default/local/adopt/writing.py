"""The files of the room `problem` for an adopted table, as text."""

import ast
import re
from collections.abc import Mapping
from pathlib import Path
from string import Template
from typing import Any

from .profile import GRID, Number, Profile
from .reading import AdoptError, identifier
from .roles import Adopted

MOST_OF_A_DAY = 500  # half of what the job `sample_data` makes up for a day
TESTS = Path("tests", "problem")
SAMPLE_TEST = "test_no_impossible_number_is_predicted"  # of test_model.py: the sample problem knows which those are
WIDTH = 116  # a longer rule would not fit into its line
TELLING = {1: 0.9, 2: 0.8, 3: 0.7}  # share of the rows in which a made-up column tells of the label, by their number

SOURCE = Template('''\
"""The source table: its columns, what they mean to the workflow, and the rules that its rows obey."""

# Column name and Spark type. Columns that nothing here needs are left out; the table may have more.
COLUMNS = $columns

# What the workflow must know of the columns. Where your table has no such column, write None.
KEY = $key  # names one row
ENTITY: str | None = $entity  # its rows stay together when a part is taken; None: rows are taken one by one
TIME: str | None = $time  # when it happened, in UTC; None: the table is a snapshot, scored as a whole
LABEL = $label  # what is predicted; null while nobody knows
LABEL_TIME: str | None = $label_time  # when the label became known, in UTC; None: it counts at once
$classes
# What every row obeys: a sentence, and the SQL that is true for a good row. These need no rule: KEY is unique and never
# null, nor is TIME, and LABEL_TIME is not before TIME.
RULES$no_rules = $rules
''')

CLASSES = Template("""
# What a label can be, sorted: so are the columns of the probabilities that scikit-learn returns.
CLASSES = $classes
""")

FEATURES = Template('''\
"""What a model sees of a row. Training and scoring read one table, so they cannot differ."""

from datetime import timedelta

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

NUMERIC: list[str] = $numeric
CATEGORICAL: list[str] = $categorical
FEATURES = NUMERIC + CATEGORICAL

# How far back the features of one row look: not at other rows.
LOOKBACK = timedelta(0)


def compute_features(rows: DataFrame) -> DataFrame:
    """Return `rows` with FEATURES as columns: NUMERIC as doubles, CATEGORICAL as strings."""
    return rows.withColumns(
        {
$computed
        }
    )
''')

SAMPLE = Template('''\
"""Made-up rows that look like those of the table, so that everything runs where its data is not.

`python -m local adopt` wrote the figures: percentiles, and shares of values that many rows have. No row of the table is
among them. Columns do not depend on each other, but some tell of the label.
"""

from datetime import date, timedelta
$more_imports
import numpy as np
import pandas as pd

from .source import $imported

KEY_PREFIX = $prefix
$constants
# The share of the rows in which a column tells of the label.
TELLING = $telling
CELLS = 20  # how finely: so many pieces of the range of a column are shuffled


def generate(start: date, end: date, rows_per_day: int, seed: int, drift: bool = False) -> pd.DataFrame:
    """Return rows of the days [start, end), the same ones for the same arguments.

    Args:
        seed: tells one data set from another.
        drift: large values and late categories become frequent, and tell of the label otherwise than before, which an
            older model misreads.

    Returns:
        The columns of `source.COLUMNS`; times are in UTC.
    """
    days = [start + timedelta(days=number) for number in range((end - start).days)]
    return pd.concat([_day(day, rows_per_day, seed, drift) for day in days], ignore_index=True)


def _day(day: date, rows: int, seed: int, drift: bool) -> pd.DataFrame:
    rng = np.random.default_rng([seed, day.toordinal()])
    rank = rng.random(rows)  # where the label of a row lies among all labels, between 0 and 1

    def place(column: str) -> np.ndarray:
        """Return where the value of each row lies among all values of `column`, between 0 and 1."""
        told = np.where(rng.random(rows) < TELLING.get(column, 0.0), rank, rng.random(rows)) * CELLS
        order = np.random.default_rng([list(COLUMNS).index(column), int(drift)]).permutation(CELLS)
        placed = (order[told.astype(int)] + told % 1) / CELLS
        return np.sqrt(placed) if drift else placed

$steps
    return pd.DataFrame(values)[list(COLUMNS)]
''')

CONFIG = Template("""\
# What a model must reach, and when monitoring calls for attention. platform/config.py checks this file.
# Metrics are those of metrics.py, and milliseconds_per_1000_rows. `python -m local adopt` wrote the numbers:
# a model must keep half of what a first one gained over a constant prediction.
# $reached

training:
  $holdout
  max_rows: 1000000       # of more labelled rows, training takes the same part every time: whole entities

gate:
  max_rows: 1000000       # likewise of the holdout
  min_labels:             # a smaller holdout decides nothing$min_labels
  minimum:$minimum
  maximum:                # a challenger above one of these is refused$maximum
    milliseconds_per_1000_rows: 5000
  # How much worse than the champion a challenger may be on the same holdout.
  max_regression:$max_regression

monitoring:
  window_days: 7          # the days before run_date that monitoring looks at
  min_rows: $min_rows# fewer scored rows than this in the window raise a volume alarm
  max_rows: 1000000       # quality is measured on no more labels than this; drift is measured on all rows
  max_null_rate: $max_null_rate
  # Population stability index: below 0.1 stable, above 0.25 a major shift.
  # Siddiqi, Credit Risk Scorecards (2006), chapter "Scorecard monitoring".
  max_psi: 0.25
  retrain_after_days: 7   # drift starts no training while the champion is younger than this
  min_labels:             # fewer labels that arrived in the window say nothing about the model$monitoring_labels
  minimum:$monitoring_minimum
  maximum:$monitoring_maximum
""")

TEST_FEATURES = Template("""from datetime import date, timedelta

import pandas as pd
import pytest
from pyspark.sql import SparkSession

from $package.platform import data
from $package.problem import features, sample

DAY = date(2026, 3, 2)


@pytest.fixture(scope="module")
def computed(spark: SparkSession) -> pd.DataFrame:
    rows = sample.generate(DAY, DAY + timedelta(days=7), 100, seed=1)
    return features.compute_features(spark.createDataFrame(rows, data.SCHEMA)).toPandas()


def test_numbers_are_doubles(computed: pd.DataFrame) -> None:
    assert (computed[features.NUMERIC].dtypes == "float64").all()


def test_categories_are_never_null(computed: pd.DataFrame) -> None:
    assert computed[features.CATEGORICAL].notna().all(axis=None)
$more""")

TEST_HOUR = Template("""

def test_the_hour_is_that_of_utc(computed: pd.DataFrame) -> None:
    assert (computed["hour_of_day"] == computed["$time"].dt.hour).all()
""")

TEST_SAMPLE = Template("""from datetime import date, timedelta

import pandas as pd

from $package.problem import sample, source

DAY = date(2026, 3, 2)


def week(seed: int = 1, drift: bool = False) -> pd.DataFrame:
    return sample.generate(DAY, DAY + timedelta(days=7), 500, seed, drift)


def test_the_same_arguments_give_the_same_rows() -> None:
    pd.testing.assert_frame_equal(week(), week())
    assert not week().equals(week(seed=2))
    assert not week().equals(week(drift=True))


def test_rows_have_the_columns_of_the_source() -> None:
    assert list(week().columns) == list(source.COLUMNS)
    assert week()[source.KEY].is_unique
    assert week()[source.KEY].astype(str).str.startswith(sample.KEY_PREFIX).all()


def test_labels_are_as_frequent_as_in_the_table() -> None:
    labels = week()[source.LABEL]
$labels
""")


TEST_SOURCE = Template("""from datetime import date, timedelta
$typing
import pandas as pd
$pytest
from pyspark.sql import SparkSession

from $package.platform import data
from $package.problem import sample, source

DAY = date(2026, 3, 2)
ROWS = sample.generate(DAY, DAY + timedelta(days=1), 50, seed=1)


def broken(spark: SparkSession, rows: pd.DataFrame) -> list[str]:
    return data.broken_rules(spark.createDataFrame(rows, data.SCHEMA))


def test_made_up_rows_are_good(spark: SparkSession) -> None:
    assert broken(spark, ROWS) == []


def test_a_row_without_a_label_is_good(spark: SparkSession) -> None:
    assert broken(spark, ROWS.assign(**{source.LABEL: None})) == []
$more""")

TEST_RULES = Template("""

@pytest.mark.parametrize(
    ("column", "value", "rule"),
    [
$cases
    ],
)
def test_a_broken_rule_is_named(spark: SparkSession, column: str, value: Any, rule: str) -> None:
    assert f"{rule}: broken by 50 of 50 rows" in broken(spark, ROWS.assign(**{column: value}))
""")


def problem_files(adopted: Adopted, profile: Profile, root: Path, room: Path, prediction: str) -> dict[str, str]:
    """Return the text of each file but `config.yml`, by its path from `root`. Estimator and metrics stay as they are.

    So do their tests.

    Args:
        room: the folder `problem`, from `root`.
        prediction: first column of `predictions`, as it is called so far.
    """
    names = prediction_names(adopted)
    package = room.parent.name
    hour = TEST_HOUR.substitute(time=adopted.roles.time) if profile.hours else ""
    files = {
        room / "source.py": source(adopted, profile),
        room / "features.py": features(adopted, profile),
        room / "model.py": model((root / room / "model.py").read_text(encoding="utf-8"), prediction, names),
        room / "metrics.py": renamed((root / room / "metrics.py").read_text(encoding="utf-8"), prediction, names[0]),
        room / "sample.py": sample(adopted, profile),
        TESTS / "test_features.py": TEST_FEATURES.substitute(package=package, more=hour),
        TESTS / "test_sample.py": TEST_SAMPLE.substitute(package=package, labels=_label_test(adopted, profile)),
    }
    files[TESTS / "test_source.py"] = test_source(adopted, profile, package)
    for path in (TESTS / "test_metrics.py", TESTS / "test_model.py"):
        if (root / path).exists():
            files[path] = renamed(without((root / path).read_text(encoding="utf-8"), SAMPLE_TEST), prediction, names[0])
    return {path.as_posix(): text for path, text in files.items()} | _rooms(root, adopted, profile, names)


def _rooms(root: Path, adopted: Adopted, profile: Profile, names: list[str]) -> dict[str, str]:
    """Return tests/unit/test_rooms.py, told of the columns that are called like words of the workflow."""
    path = root / "tests" / "unit" / "test_rooms.py"
    if not path.exists():
        return {}
    files = [*root.glob("src/*/**/*.py"), *root.glob("local/*.py"), *root.glob("lifecycle/*.py")]
    others = [module for module in files if module.parent.name != "problem"]
    words = {word for module in others for word in re.findall(r"\w+", module.read_text(encoding="utf-8"))}
    own = {*columns(adopted, profile), *profile.features, *names} & words
    text = re.sub(r"    \*\(.*\),  # columns of the table\n", "", path.read_text(encoding="utf-8"))
    if own:
        line = f"    *{tuple(sorted(own))!r},  # columns of the table\n"
        text = re.sub(r"(\nWORKFLOW = \{\n(?:    .*\n)*)\}", lambda found: f"{found[1]}{line}}}", text)
    return {path.relative_to(root).as_posix(): text}


def prediction_names(adopted: Adopted) -> list[str]:
    """Return the names of the columns of `predictions`: the first one says the label."""
    label = adopted.roles.label
    if adopted.classes:
        names = [f"{identifier(name)}_probability" for name in adopted.classes]
        if len(set(names)) < len(names):
            names = [f"probability_{number}" for number in range(len(names))]
        return [f"predicted_{label}", *names]
    return [f"predicted_{label}" if len(adopted.rows[label].dropna().unique()) > 2 else f"{label}_score"]


def source(adopted: Adopted, profile: Profile) -> str:
    """Return source.py."""
    roles = adopted.roles
    return SOURCE.substitute(
        {role: repr(getattr(roles, role)) for role in ("key", "entity", "time", "label", "label_time")},
        columns=_lines(columns(adopted, profile)),
        classes=CLASSES.substitute(classes=repr(adopted.classes)) if adopted.classes else "",
        rules=_lines(rules := _rules(adopted, profile)),
        no_rules="" if rules else ": dict[str, str]",
    )


def columns(adopted: Adopted, profile: Profile) -> dict[str, str]:
    """Return the columns that the project uses, with their Spark types."""
    used = {
        *adopted.roles.named().values(),
        *(column.name for column in profile.columns),
    }
    return {name: kind for name, kind in adopted.types.items() if name in used}


def _rules(adopted: Adopted, profile: Profile) -> dict[str, str]:
    found = {}
    for column in profile.columns:
        if not column.nulls:
            found[f"{column.name} is never null"] = f"`{column.name}` IS NOT NULL"
    for number in profile.numbers:
        if number.type != "boolean":
            sentence, sql = _range(number)
            found[sentence] = sql
    for category in profile.categories:
        values = list(category.shares)
        if category.complete and not any(re.search(r"['\"\\\\]", value) for value in values):
            or_null = f"`{category.name}` IS NULL OR " if category.nulls else ""
            listed = ", ".join(f"'{value}'" for value in values)
            found[f"{category.name} is a known value"] = f"{or_null}`{category.name}` IN ({listed})"
    label = f"`{adopted.roles.label}`"
    if adopted.classes and not any(re.search(r"['\"\\\\]", value) for value in adopted.classes):
        listed = ", ".join(f"'{value}'" for value in adopted.classes)
        found[f"{adopted.roles.label} is a known class, or not yet known"] = f"{label} IS NULL OR {label} IN ({listed})"
    elif profile.label_quantiles and len(profile.label_quantiles) == 1 and "int" in adopted.types[adopted.roles.label]:
        found[f"{adopted.roles.label} is 0, 1 or not yet known"] = f"{label} IS NULL OR {label} IN (0, 1)"
    return {sentence: sql for sentence, sql in found.items() if len(sentence) + len(sql) + 10 <= WIDTH}


def test_source(adopted: Adopted, profile: Profile, package: str) -> str:
    """Return test_source.py, which breaks one rule of each sort that there is."""
    label, rules = adopted.roles.label, _rules(adopted, profile)
    sorts: list[list[tuple[str, Any, str]]] = [  # column, value that breaks the rule, rule
        [(column.name, None, f"{column.name} is never null") for column in profile.columns],
        [
            (number.name, _beyond(number.high, 1) + 1, _range(number)[0])
            for number in profile.numbers
            if number.type in ("int", "bigint", "float", "double")
        ],
        [(category.name, "?", f"{category.name} is a known value") for category in profile.categories],
        [(label, 2, f"{label} is 0, 1 or not yet known"), (label, "?", f"{label} is a known class, or not yet known")],
    ]
    cases = [case for sort in sorts for case in [each for each in sort if each[2] in rules][:1]]
    listed = "\n".join(f"        {case!r}," for case in cases)
    return TEST_SOURCE.substitute(
        package=package,
        typing="from typing import Any\n" if cases else "",
        pytest="import pytest" if cases else "",
        more=TEST_RULES.substitute(cases=listed) if cases else "",
    )


def _range(number: Number) -> tuple[str, str]:
    """Return the rule that bounds a number."""
    name, low, high = f"`{number.name}`", _beyond(number.low, -1), _beyond(number.high, 1)
    or_null = f"{name} IS NULL OR " if number.nulls else ""
    return f"{number.name} lies between {low} and {high}", f"{or_null}{name} BETWEEN {low} AND {high}"


def _beyond(value: float, direction: int) -> int | float:
    """Return a round number half as far again as `value`, on its side of zero, or zero."""
    if value * direction <= 0:
        return 0
    size = float(f"{abs(value) * 1.5:.0e}") or 1.0
    while size < abs(value):
        size *= 2
    return direction * (int(size) if size >= 1 else size)


def features(adopted: Adopted, profile: Profile) -> str:
    """Return features.py."""
    plain = [number.name for number in profile.numbers]
    cast = [number.name for number in profile.numbers if number.type != "double"]
    with_nulls = [category.name for category in profile.categories if category.nulls]
    time = adopted.roles.time
    computed = []
    if cast:
        computed.append(f"**{{name: F.col(name).cast('double') for name in {cast}}},")
    if with_nulls:
        computed.append(f"**{{name: F.coalesce(F.col(name), F.lit('missing')) for name in {with_nulls}}},")
    for moment in profile.moments:
        days = f"F.col('{time}').cast('long') - F.col('{moment.name}').cast('timestamp').cast('long')"
        computed.append(f"'{moment.feature}': ({days}) / 86400.0,")
    if profile.hours:
        computed.append(f"'hour_of_day': F.hour('{time}').cast('double'),")
    if profile.weekdays:
        computed.append(f"'day_of_week': F.dayofweek('{time}').cast('double'),")
    clock = ["hour_of_day"] * bool(profile.hours) + ["day_of_week"] * profile.weekdays
    text = FEATURES.substitute(
        numeric=_list([*plain, *(moment.feature for moment in profile.moments), *clock]),
        categorical=_list([category.name for category in profile.categories]),
        computed="\n".join(computed),
    )
    if not computed:
        text = re.sub(r"return rows\.withColumns\(.*\)\n", "return rows\n", text, flags=re.DOTALL)
        text = text.replace("from pyspark.sql import functions as F\n", "")
    return text


def model(text: str, old: str, new: list[str]) -> str:
    """Return model.py with the predictions of this label; the estimator stays."""
    (first, *others) = new
    if others:
        columns = f"PROBABILITIES = {_list(others)}"
        text = redefined(
            text,
            PROBABILITIES=columns,
            PREDICTION=f'PREDICTION = {{"{first}": "string", **dict.fromkeys(PROBABILITIES, "double")}}',
            PREDICTION_RULES='PREDICTION_RULES = {"the probabilities add up to 1": '
            "f\"abs({' + '.join(PROBABILITIES)} - 1) < 0.001\"}",
        )
    elif first.endswith("_score"):
        text = redefined(
            text,
            PREDICTION=f'PREDICTION = {{"{first}": "double"}}',
            PREDICTION_RULES=f'PREDICTION_RULES = {{"{first} is a probability": "`{first}` BETWEEN 0 AND 1"}}',
        )
    else:
        text = redefined(
            text,
            PREDICTION=f'PREDICTION = {{"{first}": "double"}}',
            PREDICTION_RULES=f'PREDICTION_RULES = {{"{first} is never null": "`{first}` IS NOT NULL"}}',
            prediction="def prediction(raw: np.ndarray) -> pd.DataFrame:\n"
            '    """Return the columns of PREDICTION for what PREDICT returned: numbers of shape (rows, 1)."""\n'
            f'    return pd.DataFrame({{"{first}": raw[:, 0]}})',
        )
    return renamed(text, old, first)


def redefined(text: str, **definitions: str) -> str:
    """Return the module `text` with other definitions of these names.

    Raises:
        AdoptError: if it does not define one of them.
    """
    lines = text.splitlines()
    for name, definition in definitions.items():
        node = next((node for node in ast.parse("\n".join(lines)).body if _defines(node, name)), None)
        if node is None:
            raise AdoptError(f"problem/model.py defines no {name}: write it again as docs/your-data.md says.")
        lines[node.lineno - 1 : node.end_lineno] = definition.splitlines()
    return "\n".join(lines) + "\n"


def _defines(node: ast.stmt, name: str) -> bool:
    match node:
        case ast.FunctionDef(name=found):
            return found == name
        case ast.Assign(targets=[ast.Name(id=found)]) | ast.AnnAssign(target=ast.Name(id=found)):
            return found == name
    return False


def without(text: str, function: str) -> str:
    """Return the module `text` without a function, if it has it."""
    node = next((node for node in ast.parse(text).body if _defines(node, function)), None)
    if node is None:
        return text
    lines = text.splitlines()
    del lines[node.lineno - 1 : node.end_lineno]
    return "\n".join(lines) + "\n"


def renamed(text: str, old: str, new: str) -> str:
    """Return `text` with the word `old` written `new`."""
    return re.sub(rf"\b{re.escape(old)}\b", new, text)


def sample(adopted: Adopted, profile: Profile) -> str:
    """Return sample.py."""
    roles, types = adopted.roles, adopted.types
    rich = sorted(profile.numbers, key=lambda number: -len(set(number.quantiles)))
    telling = [column.name for column in rich if len(set(column.quantiles)) > 4]
    telling += [c.name for c in sorted(profile.categories, key=lambda category: -len(category.shares))]
    telling += [column.name for column in rich if len(set(column.quantiles)) <= 4] + [m.name for m in profile.moments]
    telling = telling[:5]
    nulls = {c.name: round(c.nulls, 4) for c in profile.columns if c.nulls}

    constants, steps = [], []
    if profile.hours:
        constants.append(f"# Per mille of the rows in each hour of the day, in UTC.\nHOURS = {profile.hours}")
    if profile.numbers:
        constants.append("# Values of the numbers at GRID, from the first to the ninety-ninth percentile.")
        quantiles = {number.name: number.quantiles for number in profile.numbers}
        constants.append(f"QUANTILES: dict[str, list[float]] = {_lines(quantiles)}")
    if profile.moments:
        constants.append("# Days from each of these times to TIME, at GRID.")
        constants.append(f"DAYS_BEFORE = {_lines({m.name: m.quantiles for m in profile.moments})}")
    if profile.categories:
        constants.append("# Values of the categories, and how frequent they are.")
        constants.append(f"SHARES = {_lines({c.name: c.shares for c in profile.categories})}")
    if nulls:
        constants.append(f"# Share of the rows without a value.\nNULLS = {_lines(nulls)}")
    if profile.numbers or profile.moments or len(profile.label_quantiles) > 1:
        constants.insert(0, f"GRID = np.linspace({GRID[0]}, {GRID[-1]}, {len(GRID)})")

    if types[roles.key] == "string":
        steps.append('keys = [f"{KEY_PREFIX}{day:%Y%m%d}-{number:06d}" for number in range(rows)]')
    else:
        steps.append(f"keys = -((day.toordinal() - {ORDINAL}) * 100_000 + np.arange(rows))")
    steps.append(f"values: dict[str, Any] = {{{roles.key!r}: keys}}")
    if roles.entity:
        whose = f"rng.integers({profile.entities}, size=rows)"
        named = f'[f"{{KEY_PREFIX}}{{number}}" for number in {whose}]' if types[roles.entity] == "string" else whose
        steps.append(f"values[{roles.entity!r}] = {named}")
    if roles.time:
        seconds = "rng.choice(24, rows, p=np.array(HOURS) / sum(HOURS)) * 3600 + rng.integers(3600, size=rows)"
        at = f'pd.Timestamp(day) + pd.to_timedelta({seconds}, unit="s")' if profile.hours else "pd.Timestamp(day)"
        steps.append(f"time = {at}" if profile.hours else "time = pd.DatetimeIndex([pd.Timestamp(day)] * rows)")
        steps.append(f"values[{roles.time!r}] = time")
    if profile.numbers:
        steps.append("for column, quantiles in QUANTILES.items():")
        whole = [n.name for n in profile.numbers if n.type in ("tinyint", "smallint", "int", "bigint", "boolean")]
        steps.append("    values[column] = np.interp(place(column), GRID, quantiles)")
        if len(whole) == len(profile.numbers):
            steps.append("    values[column] = np.round(values[column])")
        elif whole:
            steps.append('    if COLUMNS[column] not in ("float", "double"):')
            steps.append("        values[column] = np.round(values[column])")
    for moment in profile.moments:
        days = f"np.interp(place({moment.name!r}), GRID, DAYS_BEFORE[{moment.name!r}])"
        steps.append(f'values[{moment.name!r}] = time - pd.to_timedelta({days}, unit="D").floor("s")')
    if profile.categories:
        steps.append("for column, shares in SHARES.items():")
        steps.append("    ends = np.cumsum(list(shares.values()))")
        steps.append("    values[column] = np.array(list(shares), dtype=object)[")
        steps.append("        np.searchsorted(ends[:-1], place(column) * ends[-1])")
        steps.append("    ]")
    if nulls:
        steps.append("for column, share in NULLS.items():")
        steps.append("    values[column] = pd.Series(values[column]).mask(rng.random(rows) < share)")
    casts = _casts(profile)
    steps += casts
    steps.append(f"values[{roles.label!r}] = {_label(adopted, profile)}")
    if roles.label_time:
        delay = f"timedelta(days={profile.label_delay})" if profile.label_delay is not None else "timedelta(0)"
        at = f"time + {delay}" if roles.time else "pd.Timestamp(day)"
        steps.append(f"values[{roles.label_time!r}] = {at}")
    if adopted.classes:
        constants.append(f"CLASS_SHARES = {profile.class_shares}")
    elif len(profile.label_quantiles) > 1:
        constants.append(f"# Values of the label at GRID.\nLABEL_QUANTILES = {profile.label_quantiles}")
    else:
        constants.append(f"RATE = {profile.label_quantiles[0]}  # share of the labels that are 1")
    decimals = any(number.type.startswith("decimal") for number in profile.numbers)
    return SAMPLE.substitute(
        more_imports=("from decimal import Decimal\n" if decimals else "") + "from typing import Any\n",
        imported="CLASSES, COLUMNS" if adopted.classes else "COLUMNS",
        prefix='"sample-"' if types[roles.key] == "string" else '"-"  # whole numbers below zero',
        constants="\n".join(constants),
        telling=_lines(dict.fromkeys(telling, TELLING.get(len(telling), 0.6))),
        steps="\n".join(f"    {step}" for step in steps),
    )


ORDINAL = 730_000  # so that the numbers of made-up keys fit into 32 bits


def _casts(profile: Profile) -> list[str]:
    """Return the steps that give made-up values their types, where nulls and Spark want more than a double."""
    groups: dict[str, list[str]] = {}
    for number in profile.numbers:
        if number.type.startswith("decimal"):
            scale = re.findall(r"\d+", number.type)[-1]
            to_type = f"map(lambda value: Decimal(f'{{value:.{scale}f}}'), na_action='ignore')"
        elif number.type in ("double", "float"):
            continue
        else:
            to_type = f"astype('{'boolean' if number.type == 'boolean' else 'Int64'}')"
        groups.setdefault(to_type, []).append(number.name)
    steps = []
    for to_type, names in groups.items():
        steps += [f"for column in {_list(names)}:", f"    values[column] = pd.Series(values[column]).{to_type}"]
    for moment in profile.moments:
        if moment.type == "date":
            steps.append(f"values[{moment.name!r}] = pd.to_datetime(pd.Series(values[{moment.name!r}])).dt.date")
    return steps


def _label(adopted: Adopted, profile: Profile) -> str:
    kind = adopted.types[adopted.roles.label]
    if adopted.classes:
        return "np.array(CLASSES, dtype=object)[np.searchsorted(np.cumsum(CLASS_SHARES)[:-1], rank)]"
    if len(profile.label_quantiles) > 1:
        value = "np.interp(rank, GRID, LABEL_QUANTILES)"
        return value if kind in ("double", "float") else f"np.round({value}).astype('int64')"
    return "rank > 1 - RATE" if kind == "boolean" else "(rank > 1 - RATE).astype('int64')"


def _label_test(adopted: Adopted, profile: Profile) -> str:
    if adopted.classes:
        shares = dict(zip(adopted.classes, profile.class_shares, strict=True))
        found = "labels.value_counts(normalize=True)"
        return f"    shares = pd.Series({shares})\n    assert ({found} - shares).abs().max() < 0.05"
    if len(profile.label_quantiles) > 1:
        low, high = profile.label_quantiles[0], profile.label_quantiles[-1]
        return f"    assert labels.between({low}, {high}).all()"
    return f"    assert abs(labels.mean() - {profile.label_quantiles[0]}) < 0.05"


def config(profile: Profile, thresholds: Mapping[str, Any]) -> str:
    """Return config.yml.

    Args:
        thresholds: from `trial.thresholds`.
    """
    if profile.holdout_days is None:
        holdout = "holdout_fraction: 0.2   # this part of the rows, always the same one, is kept from training"
    else:
        holdout = f"holdout_days: {str(profile.holdout_days).ljust(10)}# the newest labelled days, kept from training"
    nulls = max((column.nulls for column in profile.columns if column not in profile.categories), default=0.0)
    return CONFIG.substitute(
        {name: _yaml(value) for name, value in thresholds.items() if isinstance(value, dict)},
        reached=thresholds["reached"],
        holdout=holdout,
        min_rows=str(max(1, min(profile.newest_day // 2, MOST_OF_A_DAY))).ljust(14),
        max_null_rate=round(min(1.0, 0.02 + 1.5 * nulls), 2),
    )


def _yaml(values: Mapping[str, float]) -> str:
    return "".join(f"\n    {name}: {value:g}" for name, value in values.items()) or " {}"


def _list(names: list[str]) -> str:
    return "[" + ", ".join(repr(name) for name in names) + "]"


def _lines(entries: Mapping[str, Any]) -> str:
    if not entries:
        return "{}"
    return "{\n" + "".join(f"    {name!r}: {value!r},\n" for name, value in entries.items()) + "}"
