"""How long something takes, as people say it."""


def duration(seconds: float | None) -> str:
    """Seconds as people say them; None, where nobody knows yet, is an ellipsis."""
    if seconds is None:
        return "…"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
