"""TensorFlow without JAX, for the processes that tests start: this folder stands on PYTHONPATH (tests/conftest.py).

TensorFlow imports JAX wherever it is installed, a second and 100 MB a process. Users have none (requirements.txt); the
tests of the other backend set KERAS_BACKEND.
"""

import os
import sys


class WithoutJax:
    """An import hook that knows no JAX."""

    def find_spec(self, name, path, target=None):
        if name == "jax":
            raise ModuleNotFoundError("No module named 'jax'", name=name)


if os.environ.get("KERAS_BACKEND") != "jax":
    sys.meta_path.insert(0, WithoutJax())
