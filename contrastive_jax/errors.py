"""The exceptions that a user is meant to read."""

# Of what needs the folder of the energy-based transformers, without which all else works.
NO_SYSTEM_2 = (
    'System 2 is not installed: this copy of contrastive_jax lacks the folder contrastive_jax/ebt; '
    'put the folder back, or install a copy that has it'
)


class UserError(ValueError):
    """Something the user can mend: one line with the field, the value, what is allowed, a way out.

    The commands print it without a traceback and exit with a non-zero status.
    """


class LoneError(UserError):
    """A UserError that one of many processes raises while the others go on."""
