"""The error that is neither a wrong type nor a wrong value of an argument."""


class Error(Exception):
    """What the worker gave, or an argument of the command line, can't be used. The text says why."""
