"""The one exception that is meant for the person who runs Fewtile, and which failures are the disk's."""

import errno


class UserError(ValueError):
    """A mistake of the user's: one line that gives the value, the rule and the fix.

    Command lines print it without a traceback and end with exit code 2.
    """


_DISK_ERRNOS = frozenset(
    {
        errno.ENOSPC,  # full
        errno.EDQUOT,  # full for this user
        errno.EFBIG,  # larger than its file system takes
        errno.EROFS,  # mounted read-only, as after an error
        errno.EIO,  # failing
        errno.ENXIO,
        errno.ENODEV,  # gone
        errno.ESTALE,  # a share that was mounted again
    }
)


def disk_trouble(error: BaseException) -> OSError | None:
    """What says that the disk is full, failing or read-only: an error, or what it was raised from or after.

    A folder that is missing or forbidden is no such trouble: making room does not help there.
    """
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        if isinstance(current, OSError) and current.errno in _DISK_ERRNOS:
            return current
        current = current.__cause__ or current.__context__
    return None


def is_disk_trouble(error: BaseException) -> bool:
    """Whether there is any `disk_trouble` in it."""
    return disk_trouble(error) is not None
