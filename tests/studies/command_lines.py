"""Phase 2's command line as tests read it."""

from studies import command_line as cli
from studies.spec import StudySpec


def request_of(*flags: str) -> cli.Request:
    return cli.read_command_line(flags, phase="phase2_tuning", description="")


def read(*flags: str) -> StudySpec:
    return request_of(*flags).spec
