"""The one exception that a user is meant to read."""


class UserError(ValueError):
    """Something the user can mend: one line with the field, the value, what is allowed, a way out.

    The commands print it without a traceback and exit with a non-zero status.
    """
