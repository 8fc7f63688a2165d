"""The exceptions that a user is meant to read."""


class UserError(ValueError):
    """Something the user can mend: one line with the field, the value, what is allowed, a way out.

    The commands print it without a traceback and exit with a non-zero status.
    """


class LoneError(UserError):
    """A UserError that one of many processes raises while the others go on."""
