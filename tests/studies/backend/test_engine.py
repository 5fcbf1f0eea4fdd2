"""The engine's promises about Ray, on a real one."""

import pytest
import ray

from studies.backend.cluster import ray_session, ray_slots
from studies.spec import StudySpec
from trainables.common.errors import UserError
from trainables.data.tiles import TrainVal


def test_tiles_are_read_without_a_copy_in_workers(tiles: TrainVal) -> None:
    with ray_session(None):
        stored = ray.put(tiles)

        @ray.remote(num_cpus=1)
        def look(received: TrainVal) -> tuple[bool, bool, str]:
            image = received.train.images[0]
            return image.flags.writeable, image.flags.owndata, received.digest()

        writeable, owns, digest = ray.get(look.remote(stored))
        slots = ray_slots(StudySpec(tiles=(4,)), 128)
    assert not writeable  # a view of the object store, which is shared and read-only
    assert not owns
    assert digest == tiles.digest()
    assert slots.count >= 1
    assert not ray.is_initialized()


@pytest.mark.parametrize("address", ["127.0.0.1:1", "nonsense", "127.0.0.1:port"])
def test_address_without_a_cluster_is_a_user_error_at_once(address: str) -> None:
    with pytest.raises(UserError, match="answers no Ray driver"), ray_session(address):
        pass
    assert not ray.is_initialized()
