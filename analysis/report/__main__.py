"""`python -m analysis.report OUT... [--wandb E/P]`."""

import sys

from analysis.report.write import main

sys.exit(main())
