"""A phase's command line as tests read it."""

from studies import command_line as cli
from studies.profiles import PhaseName
from studies.spec import StudySpec


def request_of(*flags: str, phase: PhaseName = "phase2_tuning") -> cli.Request:
    return cli.read_command_line(flags, phase=phase, description="")


def read(*flags: str, phase: PhaseName = "phase2_tuning") -> StudySpec:
    return request_of(*flags, phase=phase).spec
