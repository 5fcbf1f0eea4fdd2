"""What a person hears about logs that cannot be read."""

from trainables.common.errors import UserError


class LogsError(UserError):
    """A mistake about where the logs are: one line with the value, the rule and the fix."""
