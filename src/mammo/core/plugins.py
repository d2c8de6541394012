"""Modules chosen by name: a name in params.yaml is a file of a package, and an unknown name lists the others."""

import importlib
import pkgutil
from types import ModuleType

from mammo.core.errors import InputError


class UnknownNameError(InputError):
    """A name in params.yaml has no file; the message lists the names that have one."""


def plugin_names(package: str) -> list[str]:
    """Return the names of a package's modules, less those that start with an underscore."""
    modules = pkgutil.iter_modules(importlib.import_module(package).__path__)
    return sorted(module.name for module in modules if not module.name.startswith("_"))


def load_plugin(package: str, name: str, key: str) -> ModuleType:
    """Import module `name` of `package`; raises UnknownNameError naming `key`, where params.yaml has the name."""
    if name not in plugin_names(package):
        raise UnknownNameError(f"{key}: unknown name {name!r}; there are: {', '.join(plugin_names(package))}")
    return importlib.import_module(f"{package}.{name}")
