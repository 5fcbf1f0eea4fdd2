"""`python -m analysis.report OUT... [--wandb E/P]`."""

from analysis.report import command_line
from trainables.common.command import run


def main() -> int:
    """Writes the report that the command line asks for; returns the exit code."""
    command_line.read()  # ends here for --help
    from analysis.report import write

    return write.main()


run(main)
