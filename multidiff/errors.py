"""The one error that is the user's to mend."""


class InputError(ValueError):
    """Something given to MultiDiff cannot be used: an option, a file, a configuration.

    The message is one line that says what is wrong, where, and what would be accepted. The command line prints it and
    exits with status 2.
    """
