"""`python -m analysis.report OUT... [--wandb E/P]`."""

import sys

from analysis.report.command import main

sys.exit(main())
