"""Which of W&B's environment variables a study heeds: where logs go and who may write there, not what a run is."""

import os
from pathlib import Path

HEEDED = frozenset(
    f"WANDB_{name}"
    for name in (
        *("PROJECT", "ENTITY", "BASE_URL", "API_KEY", "APP_URL", "IDENTITY_TOKEN_FILE", "CREDENTIALS_FILE"),
        *("HTTP_PROXY", "HTTPS_PROXY", "INSECURE_DISABLE_SSL", "X_EXTRA_HTTP_HEADERS", "_EXTRA_HTTP_HEADERS"),
        *("CONFIG_DIR", "CACHE_DIR", "DATA_DIR", "ERROR_REPORTING", "USERNAME", "USER_EMAIL", "SERVICE"),
    )
)
"""The others would make runs of other ids, modes and projects, or none. `WANDB_SERVICE` is W&B's own."""

SECRET = frozenset({"WANDB_API_KEY", "WANDB_X_EXTRA_HTTP_HEADERS", "WANDB__EXTRA_HTTP_HEADERS"})


_SILENT = "WANDB_SILENT"


def set_aside() -> list[str]:
    """Removes W&B's other variables from this process, and so from those that it starts; returns their names."""
    found = sorted(name for name in os.environ if name.startswith("WANDB_") and name not in {*HEEDED, _SILENT})
    for name in found:
        del os.environ[name]
    for name in ("WANDB_PROJECT", "WANDB_ENTITY", "WANDB_BASE_URL"):
        if not os.environ.get(name, "-").strip():  # set to nothing means not set
            del os.environ[name]
    os.environ[_SILENT] = "true"
    return found


def are_unset() -> bool:
    """Whether nothing of W&B's is set here, by a variable or a file of settings: nothing that it could refuse."""
    home = os.path.expanduser("~")  # noqa: PTH111 - a Path would raise where nobody is at home
    files = (Path(home, ".config/wandb/settings"), Path("wandb/settings"), Path(".wandb/settings"))
    return not any(name.startswith("WANDB_") and name != _SILENT for name in os.environ) and not any(
        file.exists() for file in files
    )
