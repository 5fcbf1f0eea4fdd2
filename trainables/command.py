"""What all command lines share: errors in one line, and exit codes."""

import argparse
import sys
from collections.abc import Callable
from typing import NoReturn

from trainables.errors import UserError

EXIT_USER_ERROR = 2
EXIT_INTERRUPTED = 130


class Parser(argparse.ArgumentParser):
    """Raises a `UserError` where argparse would print its usage and end the process."""

    def error(self, message: str) -> NoReturn:
        """Called by argparse for whatever is wrong with the command line."""
        raise UserError(f"{message}: see --help")


def run(main: Callable[[], int]) -> NoReturn:
    """Ends the process with what `main` returns; a `UserError` is one line on stderr and exit code 2."""
    try:
        code = main()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201
        code = EXIT_USER_ERROR
    except KeyboardInterrupt:
        code = EXIT_INTERRUPTED
    sys.exit(code)
