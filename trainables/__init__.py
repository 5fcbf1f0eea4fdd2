"""What one trial is: tiles, augmentation, architectures, loss, the fit loop, prediction.

Knows torch; no ray, optuna or wandb.
"""

import gc
import sys
from pathlib import Path

_LIBRARIES = ("torch", "torchvision", "numpy", "ray", "optuna", "wandb", "pydantic", "timm", "albumentations", "rich")


def _check_working_folder() -> None:
    """Ends the process where its working folder keeps it from importing: torch would abort it."""
    problem = None
    try:
        folder = Path.cwd()
        if any(entry in ("", str(folder)) for entry in sys.path) and not folder.name.endswith("-packages"):
            files = (folder / form.format(name) for name in _LIBRARIES for form in ("{}.py", "{}/__init__.py"))
            shadow = next((file for file in files if file.exists()), None)
            if shadow is not None:
                problem = f"{shadow} would be imported in the library's place: rename it, or work in another folder"
    except FileNotFoundError:
        problem = "the working folder was removed: change to one that is there"
    if problem is not None:
        sys.stderr.write(f"error: {problem}\n")
        sys.exit(2)


_check_working_folder()
# By default (700, 10, 10) a tenth of the time of imports is spent on looking for garbage among what they made
gc.set_threshold(50_000, 20, 50)
