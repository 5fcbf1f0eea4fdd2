"""Command lines as tests read and run them."""

from collections.abc import Callable

import pytest

from studies import command_line as cli
from studies.profiles import PhaseName
from studies.spec import StudySpec
from trainables.common.command import EXIT_USER_ERROR, exit_code


def request_of(*flags: str, phase: PhaseName = "phase2_tuning") -> cli.Request:
    return cli.read_command_line(flags, phase=phase, description="")


def read(*flags: str, phase: PhaseName = "phase2_tuning") -> StudySpec:
    return request_of(*flags, phase=phase).spec


def refusal_of(main: Callable[[], int], capsys: pytest.CaptureFixture[str]) -> str:
    """What a command says that is refused: one line, without the word error."""
    assert exit_code(main) == EXIT_USER_ERROR
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    return error.removeprefix("error: ").rstrip()
