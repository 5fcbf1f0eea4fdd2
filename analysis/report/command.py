"""Writes and prints the report of studies: `python -m analysis.report OUT... [--wandb ENTITY/PROJECT]`."""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from analysis.given import given_path


def main(arguments: Sequence[str] | None = None) -> int:
    """Writes and prints the report of the studies that the command line names; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m analysis.report", description=__doc__)
    help_out = "folders of studies, those that hold wandb/"
    parser.add_argument("out", metavar="OUT", nargs="*", type=given_path, help=help_out)
    parser.add_argument("--wandb", metavar="ENTITY/PROJECT", help="read all studies of this W&B project as well")
    help_to = "folder of the report; OUT/report if left out, and for several studies report beside the first"
    parser.add_argument("--to", metavar="DIR", type=given_path, help=help_to)
    given = parser.parse_args(arguments)
    folders: list[Path] = given.out
    # Slow to import, and --help needs none of them
    from rich.console import Console

    from analysis.logs.wandb_files import LogsError, read_logs
    from analysis.report.write import read_project, show, write

    try:
        if not folders and given.wandb is None:
            raise LogsError("no study is named, but a report needs one: give its folder, or --wandb entity/project")
        if folders:
            to = given.to or (folders[0] / "report" if len(folders) == 1 else folders[0].resolve().parent / "report")
        else:
            to = given.to or Path("report")
        with tempfile.TemporaryDirectory(prefix="fewtile-") as cache:
            studies = [read_logs(folder) for folder in folders]
            if given.wandb is not None:
                studies += read_project(given.wandb, Path(cache))
            report = write(studies, to, folders)
    except LogsError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    except OSError as error:
        sys.stderr.write(f"error: the report cannot be written: {error}\n")
        return 2
    show(report, Console(highlight=False))
    return 0
