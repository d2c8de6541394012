"""Named parameter sets: profiles/<name>.yaml holds what differs from the default, and is merged into params.yaml."""

from collections.abc import Iterator, MutableMapping
from io import StringIO
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedSeq
from ruamel.yaml.error import YAMLError

from mammo.core.config import PARAMS_FILE, load_config, parse_config
from mammo.core.errors import InputError
from mammo.core.files import write_text
from mammo.core.paths import PROFILES

NULL_TAG = "tag:yaml.org,2002:null"


def list_profiles(folder: Path = PROFILES) -> list[str]:
    """Return the names of the profiles."""
    return sorted(path.stem for path in folder.glob("*.yaml"))


def apply_profile(name: str, folder: Path = PROFILES, target: Path = PARAMS_FILE) -> list[str]:
    """Merge profile `name` into params.yaml, keeping its comments; return the keys whose value changed.

    The merged file is checked before it is written: a profile with a wrong key changes nothing.
    """
    if name not in list_profiles(folder):
        raise InputError(f"unknown profile {name!r}; {folder}/ has: {', '.join(list_profiles(folder)) or 'none'}")
    path = folder / f"{name}.yaml"
    return merge_parameters(_read(_round_trip(), path), str(path), target)


def merge_parameters(changes: MutableMapping[str, Any], where: str, target: Path = PARAMS_FILE) -> list[str]:
    """Merge `changes`, nested as in params.yaml, as `apply_profile` does; `where` names them in errors."""
    load_config(target)
    yaml = _round_trip()
    content = yaml.load(target.read_text(encoding="utf-8"))
    changed = list(_merge(content, changes))
    parse_config(content, f"{target} with {where}")
    text = StringIO()
    yaml.dump(content, text)
    write_text(target, text.getvalue())
    return changed


def _round_trip() -> YAML:
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 1000
    yaml.representer.add_representer(type(None), lambda dumper, _: dumper.represent_scalar(NULL_TAG, "null"))
    yaml.indent(mapping=2, sequence=4, offset=2)
    return yaml


def _read(yaml: YAML, path: Path) -> MutableMapping[str, Any]:
    try:
        content = yaml.load(path.read_text(encoding="utf-8"))
    except YAMLError as error:
        raise InputError(f"{path} is not valid YAML: {error}") from error
    if not isinstance(content, MutableMapping):
        raise InputError(f"{path} holds no mapping of parameters")
    return content


def _merge(target: MutableMapping[str, Any], source: MutableMapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Write `source` into `target`, section by section; yield the dotted keys that got another value.

    null in the place of a section takes it out, as a JSON merge patch (RFC 7386) does; {} empties it.
    """
    for key, value in source.items():
        current = target.get(key)
        if isinstance(current, MutableMapping) and value is None:
            del target[key]
            yield f"{prefix}{key}"
            continue
        if value == {} and isinstance(current, MutableMapping) and current:
            current.clear()
            yield f"{prefix}{key}"
        elif isinstance(value, MutableMapping) and isinstance(current, MutableMapping):
            yield from _merge(current, value, f"{prefix}{key}.")
        elif current != value:
            target[key] = _without_comments(value)
            yield f"{prefix}{key}"


def _without_comments(value: Any) -> Any:
    """Return a list to be written in one line, without the profile's comments: those of params.yaml stay."""
    if not isinstance(value, list):
        return value
    bare = CommentedSeq(value)
    bare.fa.set_flow_style()
    return bare
