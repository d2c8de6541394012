"""Record what a stage reads: put this folder on PYTHONPATH and name a folder in RECORD_READS.

Each process leaves `<its words>.json` there: the keys of params.yaml that were read after the file was loaded, and the
files of the workspace that were opened for reading or writing.
"""

import atexit
import importlib.util
import json
import os
import runpy
import sys
from pathlib import Path

ROOT = Path.cwd()
KEYS: set[str] = set()
FILES: dict[str, set[str]] = {"read": set(), "written": set()}
DATA = ("data/", "metrics/", "requirements.txt", "src/mammo/reporting/templates/")


class RecordedModels(dict):
    """A mapping by name: reading one entry is not reading all."""

    def __init__(self, content, path):
        super().__init__(content)
        self.path = path

    def __getitem__(self, name):
        value = super().__getitem__(name)
        if not hasattr(type(value), "model_fields"):
            KEYS.add(f"{self.path}.{name}")
        return value

    def __iter__(self):
        KEYS.add(self.path)
        return super().__iter__()

    def values(self):
        KEYS.add(self.path)
        return super().values()

    def items(self):
        KEYS.add(self.path)
        return super().items()

    def keys(self):
        KEYS.add(self.path)
        return super().keys()


def record_config(module):
    """Make load_config return a Config that records the keys that are read."""
    section, load = module._Section, module.load_config
    paths = {}  # by id; the objects are kept, so that no id is used twice

    def register(value, path):
        paths[id(value)] = (path, value)
        for name in type(value).model_fields:
            field = value.__dict__[name]
            below = f"{path}.{name}" if path else name
            if isinstance(field, section):
                register(field, below)
            elif isinstance(field, dict):
                for key, entry in field.items():
                    if isinstance(entry, section):
                        register(entry, f"{below}.{key}")
                value.__dict__[name] = RecordedModels(field, below)

    def read(self, name):
        value = object.__getattribute__(self, name)
        known = paths.get(id(self))
        if known is None or known[1] is not self:
            return value
        path = known[0]
        if name in type(self).model_fields:
            if not isinstance(value, section | RecordedModels):
                KEYS.add(f"{path}.{name}" if path else name)
        elif path and name in ("model_dump", "model_dump_json", "model_copy", "__iter__"):
            KEYS.add(path)
        return value

    def load_config(*words):
        config = load(*words)
        register(config, "")
        return config

    section.__getattribute__ = read
    module.load_config = load_config


class ConfigHook:
    """Call record_config when mammo.core.config has been imported."""

    def find_spec(self, name, path, target=None):
        if name != "mammo.core.config":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        execute = spec.loader.exec_module

        def exec_module(module):
            execute(module)
            record_config(module)

        spec.loader.exec_module = exec_module
        return spec


def record_file(event, words):
    """Note a file of the workspace that is opened."""
    if event != "open" or not isinstance(words[0], str | bytes | os.PathLike):
        return
    path = os.path.relpath(os.fsdecode(words[0]), ROOT)
    if path.startswith(DATA) and not any(part.startswith(".") for part in Path(path).parts):  # those are unfinished
        writing = words[2] & (os.O_WRONLY | os.O_RDWR) if isinstance(words[2], int) else False
        FILES["written" if writing else "read"].add(path)


def defaults_read():
    """Return the keys of model_defaults behind those of entries under `models` that leave them out."""
    import yaml

    content = yaml.safe_load(Path("params.yaml").read_text())
    defaults = set(content["model_defaults"])
    for _, name, *key in (key.split(".") for key in KEYS if key.startswith("models.")):
        left_out = defaults - set(content["models"][name])
        yield from (f"model_defaults.{default}" for default in left_out if key in ([], [default]))


def leave():
    """Write what was read by a stage; other processes leave nothing."""
    entry = Path(sys.argv[0])
    if entry.parent.name == "stages":
        KEYS.update(list(defaults_read()))
        place = Path(os.environ["RECORD_READS"]) / f"{'@'.join([entry.stem, *sys.argv[1:]])}.json"
        reads = {"keys": sorted(KEYS), **{kind: sorted(paths) for kind, paths in FILES.items()}}
        place.write_text(json.dumps(reads, indent=1))


for folder in os.environ["PYTHONPATH"].split(os.pathsep)[1:]:  # Python runs the first sitecustomize alone
    if (other := Path(folder) / "sitecustomize.py").is_file():
        runpy.run_path(str(other))

if "RECORD_READS" in os.environ:
    sys.meta_path.insert(0, ConfigHook())
    sys.addaudithook(record_file)
    atexit.register(leave)
