"""What a user did wrong, as opposed to a bug: entry points print these without a traceback and exit with 2."""


class AdfmError(Exception):
    """The base of every error whose message is written for the user."""


class ConfigError(AdfmError):
    """The configuration cannot work; the message names the config path and the override that mends it."""


class DataError(AdfmError):
    """A file of a data set is missing, unreadable or contradicts another; the message names the file."""
