"""The one exception that is meant for the person who runs Fewtile."""


class UserError(ValueError):
    """A mistake of the user's: one line that gives the value, the rule and the fix.

    Command lines print it without a traceback and end with exit code 2.
    """
