"""Studies: which trials run, where and for how long; and the scripts of the phases."""

import contextlib
import os
import tempfile
from pathlib import Path

import trainables  # noqa: F401 - looks at the working folder before any library is imported

# Read when Ray is imported: no new-style output, no own loggers, no change of folder, no own handling of Ctrl-C
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
os.environ.setdefault("RAY_CHDIR_TO_TRIAL_DIR", "0")
os.environ.setdefault("TUNE_DISABLE_SIGINT_HANDLER", "1")
# An interrupted trial or one with an error has no metric to report
os.environ.setdefault("TUNE_DISABLE_STRICT_METRIC_CHECKING", "1")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("TUNE_PRINT_ALL_TRIAL_ERRORS", "0")  # the study itself reports lost workers

TEMPORARY_FILES = "FEWTILE_TMPDIR"
"""Variable that names the folder for temporary files of workers on a cluster; each makes it on its machine."""

if TEMPORARY_FILES in os.environ:  # W&B makes files there as soon as it is imported
    with contextlib.suppress(OSError):
        Path(os.environ[TEMPORARY_FILES]).mkdir(parents=True, exist_ok=True)
        tempfile.tempdir = os.environ["TMPDIR"] = os.environ[TEMPORARY_FILES]
