"""The base of all errors that a user can correct."""


class InputError(ValueError):
    """Parameters, files or tables are not usable; the message says what is wrong, where, and how to correct it.

    Stages and the command line show the message alone; any other exception is a defect and keeps its traceback.
    """
