"""The error that a user can cure."""


class InputError(ValueError):
    """Parameters, files or tables are not usable; the message says what, where and the cure.

    Stages and the command line show the message alone; any other exception is a defect and keeps its traceback.
    """
