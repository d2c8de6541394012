"""The spaces of a search: `models.light_cnn.learning_rate=log(1e-4,1e-2)`, close to what DVC takes for a grid.

| space | a trial draws |
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
SHARED = ("train.", "focal.")  # sections that a model's training rests on beside its own
DIGITS = 4  # that a drawn number keeps: what is trained is what params.yaml can hold and people can read


class SpaceError(InputError):
    """A space is not usable; the message says which, why and what is."""


@dataclass(frozen=True)
class Space:
    """What one parameter may become. values: low and high, or all choices."""

    key: str
    kind: str
    values: tuple[Any, ...]

    def __str__(self) -> str:
        return f"{self.key}={self.kind}({', '.join(map(json.dumps, self.values))})"

    def distribution(self) -> BaseDistribution:
        """As Optuna names it; choices are JSON texts, because its storage holds no list."""
        if self.kind == "choice":
            return CategoricalDistribution([json.dumps(value) for value in self.values])
        if self.kind == "int":
            return IntDistribution(*self.values)
        low, high = self.values
        return FloatDistribution(low, high, log=self.kind == "log")

    def value(self, drawn: Any) -> Any:
        """The parameter that Optuna's value stands for."""
        if self.kind == "choice":
            return json.loads(drawn)
        if self.kind == "int":
            return drawn
        low, high = self.values
        return min(max(float(f"{drawn:.{DIGITS}g}"), low), high)

    def drawn(self, value: Any) -> Any:
        """The inverse of `value`; None where the space does not hold the parameter."""
        if self.kind == "choice":
            text = json.dumps(value)
            return text if text in map(json.dumps, self.values) else None
        inside = isinstance(value, int | float) and self.values[0] <= value <= self.values[1]
        return value if inside and self.value(value) == value else None

    def probes(self) -> tuple[Any, ...]:
        """All choices; or both ends and, where fractions are drawn, one of them."""
        if self.kind in ("choice", "int"):
            return self.values
        low, high = self.values
        return low, high, low + (high - low) / 1.618


def parse(words: Iterable[str], file: Path | None = None) -> list[Space]:
    """`KEY=SPACE` each, as on the command line, and those of a YAML file, nested as params.yaml or with dotted keys.

    DVC's `+KEY` is KEY. Raises SpaceError naming the word, or file and key.
    """
    pairs = [] if file is None else list(_read(file).items())
    for word in words:
        key, equals, text = word.removeprefix("+").partition("=")
        if not equals:
            raise SpaceError(f"{word!r} is no KEY=SPACE, such as {EXAMPLE}")
        pairs.append((key.strip(), text))
    found: dict[str, Space] = {}
    for key, text in pairs:
        if key in found:
            raise SpaceError(f"{key} has two spaces; give it one")
        found[key] = _space(key, str(text))
    return list(found.values())


def check(spaces: Sequence[Space], model: str, loaded: Config) -> None:
    """Raises an InputError where a trial of `models.<model>` could not be trained as the spaces say.

    Ends and choices of every two spaces are tried together: params.yaml's rules tie no more than two values.
    """
    loaded.model(model)
    if not spaces:
        raise SpaceError(f"there is nothing to search; name a space, such as -S '{EXAMPLE}'")
    sections = (f"models.{model}.", *SHARED)
    for space in spaces:
        if not space.key.startswith(sections):
            raise SpaceError(
                f"{space.key}: a search trains {model} on the data as they are; "
                f"it can change what is below {', '.join(section.rstrip('.') for section in sections)}"
            )
    for one, other in [*zip(spaces, spaces, strict=True), *combinations(spaces, 2)]:
        where = str(one) if one is other else f"{one} with {other}"
        for values in product(one.probes(), other.probes()):
            replaced(loaded, dict(zip((one.key, other.key), values, strict=True)), where)
    known = flatten(loaded.model_dump())
    for space in spaces:
        if space.key not in known:
            raise SpaceError(f"{space.key} is a section; give the keys below it a space each")


def replaced(loaded: Config, values: Mapping[str, Any], where: str) -> Config:
    """`loaded` with the values of some dotted keys replaced, checked as params.yaml is; `where` names it in errors."""
    content = loaded.model_dump()
    _merge(content, nested(values))
    return parse_config(content, where)


def nested(values: Mapping[str, Any]) -> dict[str, Any]:
    """{"train.epochs": 3} -> {"train": {"epochs": 3}}."""
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
        here = target.get(key)
        if isinstance(here, dict) and isinstance(value, Mapping):
            _merge(here, value)
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
        loaded = YAML(typ="safe", pure=True).load(f"[{matched[2]}]")
    except YAMLError as error:
        raise SpaceError(f"{key}={text}: what is in the brackets is no list of YAML values: {error}") from error
    values = json.loads(json.dumps(loaded, default=str))  # a date is the word that it looks like
    problem = _problem(kind, values)
    if problem:
        raise SpaceError(f"{key}={text}: {problem}")
    return Space(key, kind, tuple(values))


def _problem(kind: str, values: list[Any]) -> str | None:
    """What is wrong with the values of a space, and the cure; None if nothing."""
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
