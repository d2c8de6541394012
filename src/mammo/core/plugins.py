"""A name in params.yaml is a file: find the module for a name, and list the alternatives for an unknown one."""

import importlib
import pkgutil
from types import ModuleType

from mammo.core.errors import InputError


class UnknownNameError(InputError):
    """A name in params.yaml has no file; the message lists those that have."""


def plugin_names(package: str) -> list[str]:
    """Return the names that a package offers: its modules, less those that start with an underscore."""
    modules = pkgutil.iter_modules(importlib.import_module(package).__path__)
    return sorted(module.name for module in modules if not module.name.startswith("_"))


def load_plugin(package: str, name: str, key: str) -> ModuleType:
    """Return module `name` of `package`; `key` is where params.yaml holds the name, for the error."""
    if name not in plugin_names(package):
        raise UnknownNameError(f"{key}: unknown name {name!r}; there are: {', '.join(plugin_names(package))}")
    return importlib.import_module(f"{package}.{name}")
