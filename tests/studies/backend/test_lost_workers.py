"""How Tune is told of workers that Ray's memory monitor kills."""

from types import SimpleNamespace
from typing import Any

import pytest
from ray.air.execution._internal.actor_manager import RayActorManager
from ray.exceptions import ActorDiedError, LocalRayletDiedError, OutOfMemoryError, RayActorError, RayTaskError

from studies.backend.cluster import ray_session
from studies.backend.lost_workers import WorkerOutOfMemoryError, reason_of, translated_errors
from trainables.common.errors import UserError

WORDS = "Task was killed due to the node running low on memory.\nMemory on the node was 15.3GB / 16.0GB"


def failed_with(error: Exception) -> Exception:
    """What a trial hears of its task that failed with `error`, through Tune's own manager."""
    heard: list[Exception] = []
    actor = SimpleNamespace(actor_id=1, _on_error=None)
    task = SimpleNamespace(_tracked_actor=actor, _on_error=lambda _, told: heard.append(told))
    manager: Any = SimpleNamespace(_failed_actor_ids=set(), _cleanup_actor=lambda tracked_actor: None)
    RayActorManager._actor_task_failed(manager, tracked_actor_task=task, exception=error)  # as Tune calls it
    (told,) = heard
    return told


def test_full_memory_is_translated_from_other_losses():
    with pytest.raises(RuntimeError, match="Caught unexpected exception"):
        failed_with(OutOfMemoryError(WORDS))  # as Tune has it: the end of the whole driver
    with translated_errors():
        told = failed_with(OutOfMemoryError(WORDS))
        assert isinstance(told, WorkerOutOfMemoryError)
        assert str(told) == "Task was killed due to the node running low on memory."
        assert type(failed_with(LocalRayletDiedError())) is RayActorError
        for error in (ActorDiedError(), RayTaskError("train", "a traceback", ValueError())):
            assert failed_with(error) is error
    with pytest.raises(RuntimeError, match="Caught unexpected exception"):
        failed_with(OutOfMemoryError(WORDS))


@pytest.mark.parametrize("name", ["_actor_task_failed", "_actor_start_failed"])
def test_version_of_tune_without_these_methods_is_one_line(name, monkeypatch):
    monkeypatch.delattr(RayActorManager, name)
    words = rf"^Ray \d.* has no RayActorManager.{name}, .*requirements.lock$"
    with pytest.raises(UserError, match=words), translated_errors():
        pass
    with pytest.raises(UserError, match=words), ray_session(None):
        pass


def test_reason_is_one_line():
    assert reason_of(None) == "its worker was lost"
    assert reason_of(ValueError("\n  no room\nfor more")) == "its worker was lost (ValueError: no room)"
