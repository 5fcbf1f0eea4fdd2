"""Phase 3: retrains what phase 2 chose on fewer tiles: several subsets of them, several seeds each."""

from studies.phases import run_phase
from trainables.common.command import run

if __name__ == "__main__":
    run(lambda: run_phase("phase3_data_budget", __doc__))
