"""`python -m analysis.report OUT... [--wandb E/P]`."""

import sys

from analysis.report import command_line


def main() -> int:
    """Writes the report that the command line asks for; returns the exit code."""
    command_line.read()  # ends here for --help
    from analysis.report import write

    return write.main()


sys.exit(main())
