"""Checks before a study starts whether W&B can log it: its variables, its settings, and its server."""

import os
import tempfile
from pathlib import Path
from urllib.parse import urlsplit

import wandb
from pydantic import ValidationError

from studies.logs import wandb_process, wandb_variables
from trainables.common.errors import UserError
from trainables.common.network import check_url


def check_variables() -> list[str]:
    """Sets aside those of W&B's environment variables that a study ignores, and checks the others.

    Returns:
        What to say of the ignored ones: no sentence or one.

    Raises:
        UserError: W&B refuses the value of one.
    """
    ignored = wandb_variables.set_aside()
    for name in sorted(wandb_variables.HEEDED & os.environ.keys()):
        try:
            wandb.Settings().update_from_env_vars({name: os.environ[name]})
        except Exception as error:
            shown = "***" if name in wandb_variables.SECRET else repr(os.environ[name])
            raise UserError(f"{name} is {shown}, but W&B refuses it ({_rule(error)}): mend or unset it") from error
    if not ignored:
        return []
    heeded = "WANDB_PROJECT, WANDB_ENTITY, WANDB_BASE_URL and what a login needs"
    return [f"{', '.join(ignored)} {'is' if len(ignored) == 1 else 'are'} ignored: a study heeds {heeded}"]


def check_start() -> None:
    """Starts a run in a temporary folder, so that whatever W&B refuses is known before a study starts.

    Raises:
        UserError: W&B starts none here, because of its files of settings or its folders.
    """
    with tempfile.TemporaryDirectory(prefix="fewtile-") as scratch:
        try:
            about = {"name": "check", "group": None, "job_type": "check"}
            run, _ = wandb_process.start(Path(scratch), "offline", {}, about)
            wandb_process.bounded(run.finish)
        except Exception as error:
            raise UserError(
                f"W&B starts no run here ({_rule(error)}): mend its files of settings, or use --wandb disabled"
            ) from error
        finally:
            wandb_process.stop_process()


def check_online() -> None:
    """Checks that there is a login and that the server can be reached.

    Raises:
        UserError: There is no login, or the server cannot be reached (W&B itself would try for minutes).
    """
    url = wandb.setup().settings.base_url
    try:
        check_url(url)
        if not wandb.login():
            raise UserError("--wandb online needs a login: run `wandb login`, or use --wandb offline")
    except wandb.errors.Error as error:
        raise UserError("--wandb online needs a login: run `wandb login`, or use --wandb offline") from error
    except OSError as error:
        raise UserError(
            f"--wandb online cannot reach {urlsplit(url).hostname}: check the network, or use --wandb offline"
        ) from error


def _rule(error: Exception) -> str:
    """Returns what W&B says of a value, in one line."""
    if isinstance(error, ValidationError):
        return str(error.errors()[0]["msg"]).removeprefix("Value error, ")
    return " ".join(str(error).split()) or type(error).__name__
