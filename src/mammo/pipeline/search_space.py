"""The spaces of a search: `models.light_cnn.learning_rate=log(1e-4,1e-2)`, close to what DVC takes for a grid.

| space | the value of a trial |
|---|---|
| `uniform(a,b)` | a number from a to b |
| `log(a,b)` | a number from a to b, evenly on the log scale |
| `int(a,b)` | a whole number from a to b |
| `choice(a,b,...)` | one of the values, which are YAML: numbers, words, true, null, lists such as [block4, block5] |
"""

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product
from pathlib import Path
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from mammo.core.config import Config, flatten, parse_config
from mammo.core.errors import InputError

EXAMPLE = "models.light_cnn.learning_rate=log(1e-4,1e-2)"
KINDS = ("uniform(a,b)", "log(a,b)", "int(a,b)", "choice(a,b,...)")
SHARED = ("train.", "focal.")  # sections of a training beside the model's own
DIGITS = 4  # that a proposed number keeps: what is trained is what params.yaml can hold and people can read


class SpaceError(InputError):
    """An unusable space; the message says which, why, and the valid choices."""


@dataclass(frozen=True)
class Space:
    """The values that one parameter may take. values: low and high, or all choices."""

    key: str
    kind: str
    values: tuple[Any, ...]

    def __str__(self) -> str:
        return f"{self.key}={self.kind}({', '.join(map(json.dumps, self.values))})"

    def distribution(self) -> BaseDistribution:
        """Return Optuna's distribution; choices are JSON texts, because its storage holds no list."""
        if self.kind == "choice":
            return CategoricalDistribution([json.dumps(value) for value in self.values])
        if self.kind == "int":
            return IntDistribution(*self.values)
        low, high = self.values
        return FloatDistribution(low, high, log=self.kind == "log")

    def from_optuna(self, proposed: Any) -> Any:
        """Return the parameter that a value of Optuna stands for."""
        if self.kind == "choice":
            return json.loads(proposed)
        if self.kind == "int":
            return proposed
        low, high = self.values
        return min(max(float(f"{proposed:.{DIGITS}g}"), low), high)

    def to_optuna(self, value: Any) -> Any:
        """Return the inverse of `from_optuna`; None where the space does not hold the parameter."""
        if self.kind == "choice":
            text = json.dumps(value)
            return text if text in map(json.dumps, self.values) else None
        inside = isinstance(value, int | float) and self.values[0] <= value <= self.values[1]
        return value if inside and self.from_optuna(value) == value else None

    def probes(self) -> tuple[Any, ...]:
        """Return all choices; or both ends and, of a continuous space, a value between."""
        if self.kind in ("choice", "int"):
            return self.values
        low, high = self.values
        return low, high, low + (high - low) / 1.618


def parse_spaces(words: Iterable[str], file: Path | None = None) -> list[Space]:
    """Parse `KEY=SPACE` words, and a YAML file of spaces that is nested as params.yaml or has dotted keys.

    DVC's `+KEY` is KEY. Raises SpaceError naming the word, or file and key.
    """
    pairs = [] if file is None else list(_read(file).items())
    for word in words:
        key, equals, text = word.removeprefix("+").partition("=")
        if not equals:
            raise SpaceError(f"{word!r} is no KEY=SPACE, such as {EXAMPLE}")
        pairs.append((key.strip(), text))
    spaces: dict[str, Space] = {}
    for key, text in pairs:
        if key in spaces:
            raise SpaceError(f"{key} has two spaces; give it one")
        spaces[key] = _space(key, str(text))
    return list(spaces.values())


def check_spaces(spaces: Sequence[Space], model: str, config: Config) -> None:
    """Raise InputError where a trial of `models.<model>` could not be trained with values of the spaces.

    Ends and choices of every two spaces are tried together: params.yaml's rules tie no more than two values.
    """
    config.model(model)
    if not spaces:
        raise SpaceError(f"there is nothing to search; name a space, such as -S '{EXAMPLE}'")
    sections = (f"models.{model}.", *SHARED)
    for space in spaces:
        if not space.key.startswith(sections):
            raise SpaceError(
                f"{space.key}: a search trains {model} on the data as they are; "
                f"it can change what is below {', '.join(section.rstrip('.') for section in sections)}"
            )
    for first, second in [*zip(spaces, spaces, strict=True), *combinations(spaces, 2)]:
        where = str(first) if first is second else f"{first} with {second}"
        for values in product(first.probes(), second.probes()):
            replace_parameters(config, dict(zip((first.key, second.key), values, strict=True)), where)
    known = flatten(config.model_dump())
    for space in spaces:
        if space.key not in known:
            raise SpaceError(f"{space.key} is a section; give the keys below it a space each")


def replace_parameters(config: Config, values: Mapping[str, Any], where: str) -> Config:
    """Return `config` with the values of some dotted keys replaced and checked; `where` names them in errors."""
    content = config.model_dump()
    _merge(content, nest_keys(values))
    return parse_config(content, where)


def nest_keys(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return dotted keys as nested mappings: {"train.epochs": 3} -> {"train": {"epochs": 3}}."""
    content: dict[str, Any] = {}
    for key, value in values.items():
        *sections, name = key.split(".")
        inner = content
        for section in sections:
            inner = inner.setdefault(section, {})
        inner[name] = value
    return content


def _merge(target: dict[str, Any], source: Mapping[str, Any]) -> None:
    for key, value in source.items():
        section = target.get(key)
        if isinstance(section, dict) and isinstance(value, Mapping):
            _merge(section, value)
        else:
            target[key] = value


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise SpaceError(f"{path} does not exist; it holds spaces as params.yaml holds values")
    try:
        content = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
    except YAMLError as error:
        raise SpaceError(f"{path} is not valid YAML: {error}") from error
    if not isinstance(content, Mapping):
        raise SpaceError(f"{path} holds no mapping of parameters to spaces")
    return flatten(content)


def _space(key: str, text: str) -> Space:
    matched = re.fullmatch(r"\s*(\w+)\s*\((.*)\)\s*", text, re.DOTALL)
    if matched is None or matched[1] not in {kind.split("(")[0] for kind in KINDS}:
        raise SpaceError(f"{key}={text} is no space; there are {', '.join(KINDS)}")
    kind = matched[1]
    try:
        parsed = YAML(typ="safe", pure=True).load(f"[{matched[2]}]")
    except YAMLError as error:
        raise SpaceError(f"{key}={text}: what is in the brackets is no list of YAML values: {error}") from error
    values = json.loads(json.dumps(parsed, default=str))  # a date is the word that it looks like
    problem = _problem(kind, values)
    if problem:
        raise SpaceError(f"{key}={text}: {problem}")
    return Space(key, kind, tuple(values))


def _problem(kind: str, values: list[Any]) -> str | None:
    """Return what is wrong with the values of a space; None if nothing."""
    if kind == "choice":
        distinct = len({json.dumps(value) for value in values})
        return None if distinct == len(values) >= 2 else "a choice needs two values or more, each once"
    number = int if kind == "int" else (int | float)
    if len(values) != 2 or any(not isinstance(value, number) or isinstance(value, bool) for value in values):
        return f"it takes two {'whole ' if kind == 'int' else ''}numbers, low and high"
    low, high = values
    if not low < high or math.isinf(high - low):
        return "the first number must be below the second, and both finite"
    return "the first number must be above 0" if kind == "log" and low <= 0 else None
