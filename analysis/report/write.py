"""Writes the report of one or more studies from their W&B logs: `python -m analysis.report OUT... [--wandb E/P]`."""

import argparse
import json
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.text import Text

from analysis import browse
from analysis.figures.drawing import render
from analysis.logs.frames import Logs
from analysis.logs.wandb_files import LogsError, compact, logs_of, read_logs, study_identity
from analysis.report import command_line, page
from analysis.report.compose import Composed, compose
from analysis.report.document import TableBlock
from analysis.tables import formatting as tables
from analysis.tables import latex
from analysis.tables.terminal import fitting
from trainables.common.command import exit_code
from trainables.common.errors import UserError
from trainables.common.whole_files import write_all

_INDEX = ".files.json"
_PRINTED = ("iou_by_architecture", "iou_by_tiles", "contrasts")
"""Tables that the terminal shows, by what their names begin with."""


@dataclass(frozen=True, kw_only=True)
class Report:
    """What was written.

    Attributes:
        folder: Where it lies.
        composed: What is in it.
        paths: All files.
    """

    folder: Path
    composed: Composed
    paths: tuple[Path, ...]


def write_report(folders: Sequence[Path], to: Path) -> Report:
    """Writes report.html, report.md, tables and figures of some studies under `to`, each file whole or not at all.

    Args:
        folders: Of the studies, at least one. Only the W&B files in them are read.
        to: The report's folder; files of the same names in it are replaced.

    Raises:
        LogsError: A folder holds no study that can be read, or two the same; nothing is written then.
    """
    return _write([read_logs(folder) for folder in folders], to, folders)


def show(report: Report, console: Console) -> None:
    """Prints the conclusions, what limits them, the main tables as far as they fit, and where the report lies."""
    document = report.composed.document
    for sentence in document.conclusions:
        console.print(Text(sentence))
    for warning in document.warnings:
        console.print(Text(f"Note: {warning}"))
    blocks = [(section, block) for section in document.sections for block in section.blocks]
    printed = [pair for pair in blocks if isinstance(pair[1], TableBlock) and pair[1].name.startswith(_PRINTED)]
    first = [pair for pair in blocks if isinstance(pair[1], TableBlock)][:1]
    for section, block in printed or first:
        assert isinstance(block, TableBlock), "only tables were picked"
        console.print()
        console.print(Text(f"{section.title} \N{EN DASH} {block.title}"))
        console.print(fitting(block.frame, console))
    console.print(Text(f"report    {report.folder / 'report.html'}"), soft_wrap=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Writes and prints the report of the studies that the command line names; returns the exit code."""
    return exit_code(lambda: _report(command_line.read(arguments)))


def _report(given: argparse.Namespace) -> int:
    folders: list[Path] = given.out
    if not folders and given.wandb is None:
        raise LogsError("no study is named, but a report needs one: give its folder, or --wandb entity/project")
    if folders:
        to = given.to or (folders[0] / "report" if len(folders) == 1 else folders[0].resolve().parent / "report")
    else:
        to = given.to or Path("report")
    try:
        with tempfile.TemporaryDirectory(prefix="fewtile-") as cache:
            studies = [read_logs(folder) for folder in folders]
            if given.wandb is not None:
                studies += _read_project(given.wandb, Path(cache))
            report = _write(studies, to, folders)
    except OSError as error:
        raise UserError(f"the report cannot be written: {error}") from error
    show(report, Console(highlight=False))
    return 0


def _read_project(project: str, cache: Path) -> list[Logs]:
    """All studies of a W&B project, oldest first; to equal names the start of the study's id is added."""
    from analysis.logs.wandb_api import read_project_runs  # W&B's client, which reading files does without

    runs = read_project_runs(project, cache, shrink=compact)
    known = list(
        dict.fromkeys(study_identity(run) for run in runs if run.job_type == "study" and "study" in run.config)
    )
    studies = [logs_of(runs, project, study=identity or name) for name, identity in known] or [logs_of(runs, project)]
    names = Counter(name for name, _ in known)
    for logs, (name, identity) in zip(studies, known, strict=True):
        if names[name] > 1:
            logs.study["study"] = f"{name}-{identity[:6]}"
    return studies


def _write(studies: Sequence[Logs], to: Path, folders: Sequence[Path]) -> Report:
    """Writes the report of some studies, the first of which were read from `folders`."""
    names = [logs.study["study"] for logs in studies]
    if twice := [name for name in names if names.count(name) > 1]:
        raise LogsError(
            f"two studies are called {twice[0]}, but each study of a report needs its own name: give each once, or "
            "rename a folder before the study in it runs"
        )
    tiles = browse.tiles_page(list(zip(folders, studies, strict=False)), to)
    links = () if tiles is None else (("Image, truth and prediction of every tile and trial", browse.NAME),)
    composed = compose(studies, links)
    document = composed.document
    contents: dict[Path, bytes] = {}
    for name, frame in composed.frames.items():
        contents[to / "tables" / f"{name}.csv"] = frame.to_csv(index=False, lineterminator="\n").encode()
    for section in document.sections:
        for block in section.blocks:
            if isinstance(block, TableBlock):
                path = to / "tables" / block.name
                contents[path.with_suffix(".md")] = tables.markdown(block.frame, block.caption).encode()
                tex = latex.latex(block.frame, block.caption, f"tab:{block.name}")
                contents[path.with_suffix(".tex")] = tex.encode()
    for name, figure in composed.figures.items():
        contents[to / "figures" / f"{name}.png"] = render(figure, "png")
    contents |= {to / path: content for path, content in page.pictures(document).items()}
    contents[to / "report.md"] = page.markdown(document).encode()
    if tiles is not None:
        contents[to / browse.NAME] = tiles.encode()
    contents[to / "report.html"] = page.html(document).encode()
    write_all(contents)
    _forget(to, [path.relative_to(to).as_posix() for path in contents])
    return Report(folder=to, composed=composed, paths=tuple(contents))


def _forget(to: Path, written: list[str]) -> None:
    """Removes what an earlier report left in the folder and this one does not have; other files stay."""
    index = to / _INDEX
    try:
        earlier = json.loads(index.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):  # none, or damaged
        earlier = []
    for name in {str(name) for name in earlier} - set(written):
        path = to / name
        if path.is_file() and path.resolve().is_relative_to(to.resolve()):  # whatever the index says
            path.unlink()
    write_all({index: json.dumps(sorted(written)).encode()})
