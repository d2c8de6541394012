"""What TensorFlow's C++ code prints on standard error; set before Keras is imported."""

import os
from pathlib import Path

VARIABLE = "TF_CPP_MIN_LOG_LEVEL"
ERRORS, FATAL = "2", "3"  # the least severe level that is printed
GPU_DEVICES = ("nvidia[0-9]*", "kfd")  # of NVIDIA and AMD, in /dev


def set_log_level(devices: Path = Path("/dev")) -> None:
    """Print errors where there is a GPU; elsewhere they say that there is none, and only fatal ones are printed.

    An error that matters is raised as a Python exception as well. A level that the user has set stays. Some lines
    come before TensorFlow reads the level: "oneDNN custom operations are on", "Could not find cuda drivers".
    """
    has_gpu = any(next(devices.glob(pattern), None) for pattern in GPU_DEVICES)
    os.environ.setdefault(VARIABLE, ERRORS if has_gpu else FATAL)
