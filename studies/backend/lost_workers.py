"""Makes Ray Tune retry workers that the memory monitor killed, as it does others, and says why a worker was lost."""

import contextlib
import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import ray
import ray.cloudpickle
from ray.air.execution._internal.actor_manager import RayActorManager
from ray.exceptions import OutOfMemoryError, RayActorError, RayError, RayTaskError

from trainables.common.errors import UserError

_METHODS = ("_actor_task_failed", "_actor_start_failed")


class WorkerOutOfMemoryError(RayActorError):  # type: ignore[misc]
    """Ray's memory monitor killed a worker."""


def check_tune() -> None:
    """Checks that Tune has the methods that `translated_errors` replaces; pyproject.toml allows the versions looked at.

    Raises:
        UserError: It has not.
    """
    if missing := [name for name in _METHODS if not callable(getattr(RayActorManager, name, None))]:
        raise UserError(
            f"Ray {ray.__version__} has no RayActorManager.{missing[0]}, by which a study learns of lost workers: "
            "install the Ray of requirements.lock"
        )


@contextlib.contextmanager
def translated_errors() -> Iterator[None]:
    """Translates Ray's errors for Tune, so that it treats every lost worker as one.

    Tune 2.60 handles errors of actors and of tasks only. Ray's memory monitor raises neither (seen): the whole driver
    ends with "Caught unexpected exception", or, while a worker starts, the reason is lost.
    """
    check_tune()
    originals = {name: getattr(RayActorManager, name) for name in _METHODS}
    for name, original in originals.items():
        setattr(RayActorManager, name, _translate_arguments(original))
    try:
        yield
    finally:
        for name, original in originals.items():
            setattr(RayActorManager, name, original)


def _translate_arguments(original: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(original)
    def failed(self: Any, *arguments: Any, **named: Any) -> None:
        original(self, *map(_translate, arguments), **{name: _translate(value) for name, value in named.items()})

    return failed


def _translate(argument: Any) -> Any:
    """An error as Tune handles it; anything else as it is."""
    if isinstance(argument, OutOfMemoryError):
        return WorkerOutOfMemoryError(error_msg=_first_line(argument))
    if isinstance(argument, RayError) and not isinstance(argument, RayActorError | RayTaskError):
        return RayActorError(error_msg=_first_line(argument))
    return argument


def _first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


def error_of(trial: Any) -> BaseException | None:
    """The latest error of one of Tune's trials; None where Tune kept none.

    Read from the driver's own disk: `Trial.get_pickled_error` looks where Tune copies it to some time later.
    """
    path = trial.pickled_error_file
    if path is None or not Path(path).exists():
        return None
    error: BaseException = ray.cloudpickle.loads(Path(path).read_bytes())
    return error


def reason_of(error: BaseException | None) -> str:
    """Why a worker was lost, in one line."""
    if error is None:
        return "its worker was lost"
    return f"its worker was lost ({type(error).__name__}: {_first_line(error)[:200]})"  # type: ignore[arg-type]
