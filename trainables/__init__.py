"""What one trial is: tiles, augmentation, architectures, loss, the fit loop, prediction.

Knows torch; no ray, optuna or wandb.
"""

import sys
from pathlib import Path

try:
    Path.cwd()
except FileNotFoundError:  # torch would abort the process while it is imported
    sys.stderr.write("error: the working folder was removed: change to one that is there\n")
    sys.exit(2)
