"""Phase 2: tunes every architecture under an equal allowance, then confirms what it selected with new seeds."""

from studies.phases import run_phase
from trainables.common.command import run

if __name__ == "__main__":
    run(lambda: run_phase("phase2_tuning", __doc__))
