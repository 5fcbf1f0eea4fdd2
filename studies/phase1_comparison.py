"""Phase 1: compares architectures under one recipe, several seeds each, and tests every one of them once."""

from studies.phases import run_phase
from trainables.common.command import run

if __name__ == "__main__":
    run(lambda: run_phase("phase1_comparison", __doc__))
