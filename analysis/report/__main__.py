"""`python -m analysis.report OUT... [--wandb E/P]`."""

from analysis.report.write import main
from trainables.common.command import run

run(main)
