"""A name in params.yaml is a file: find the module for a name, and list the alternatives for an unknown one."""

import importlib
import pkgutil
from types import ModuleType

from mammo.errors import InputError


class UnknownNameError(InputError):
    """A name in params.yaml has no file; the message lists those that have."""


def names(package: ModuleType) -> list[str]:
    """Names that a package offers: its modules, less those that start with an underscore."""
    return sorted(module.name for module in pkgutil.iter_modules(package.__path__) if not module.name.startswith("_"))


def module(package: ModuleType, name: str, key: str) -> ModuleType:
    """Module `name` of `package`; `key` is where params.yaml holds the name, for the error."""
    if name not in names(package):
        raise UnknownNameError(f"{key}: unknown name {name!r}; there are: {', '.join(names(package))}")
    return importlib.import_module(f"{package.__name__}.{name}")
