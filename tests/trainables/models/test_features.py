"""Kept features of frozen encoders: the same bits as computed anew, each image once, as long as there is room."""

from collections import Counter
from dataclasses import replace

import pytest
import torch
from torch import nn

from trainables.checkpoints import NEWEST
from trainables.models import frozen as frozen_module
from trainables.models.architectures import ARCHITECTURES
from trainables.models.features import KeptFeatures
from trainables.models.frozen import FrozenEncoder
from trainables.models.segmenter import Segmenter
from trainables.models.spec import ModelSpec
from trainables.trial import fit

IMAGES = torch.rand(3, 2, 8, 8, generator=torch.Generator().manual_seed(0))


class Encoder:
    """Counts what it encodes."""

    num_calls = 0

    def __call__(self, image: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
        self.num_calls += 1
        return image * 2, [image[:, :1] + 1]


def test_features_of_an_image_are_computed_once():
    kept, encode = KeptFeatures(10**6), Encoder()
    for _ in range(2):
        for image in IMAGES.split(1):
            doubled, (more,) = kept.get("a", image.clone(), encode)
            assert torch.equal(doubled, image * 2)
            assert torch.equal(more, image[:, :1] + 1)
            doubled.zero_()  # what a decoder does in place stays with it
    assert encode.num_calls == 3
    assert kept.num_bytes == 3 * 3 * 64 * 4


@pytest.mark.parametrize(
    "change", [lambda x: x + 1e-7, lambda x: x.double(), lambda x: x.reshape(1, 2, 4, 16), lambda x: x.mT]
)
def test_another_image_is_another_one(change):
    kept, encode, other = KeptFeatures(10**6), Encoder(), change(IMAGES[:1])
    kept.get("a", IMAGES[:1], encode)
    assert torch.equal(kept.get("a", other, encode)[0], other * 2)
    assert encode.num_calls == 2


def test_features_in_another_number_type_are_others():
    kept, weight = KeptFeatures(10**6), torch.rand(8, 8)
    for dtype in (torch.bfloat16, torch.float16) * 2:
        with torch.autocast("cpu", dtype=dtype):
            assert kept.get("a", IMAGES[:1], lambda image: [image @ weight])[0].dtype == dtype
    assert kept.get("a", IMAGES[:1], lambda image: [image @ weight])[0].dtype == torch.float32


def test_what_has_no_room_is_computed_each_time_and_another_encoder_takes_the_room():
    kept, encode = KeptFeatures(2 * 3 * 64 * 4), Encoder()
    for encoder, num_calls in (("a", 3), ("a", 1), ("b", 3), ("b", 1)):
        encode.num_calls = 0
        for image in IMAGES.split(1):
            assert torch.equal(kept.get(encoder, image, encode)[0], image * 2)
        assert encode.num_calls == num_calls
        assert kept.num_bytes == kept.limit_bytes


@pytest.fixture
def count_encoded(monkeypatch):
    """How often each image of this process was encoded, with nothing kept at first."""
    counts: Counter[bytes] = Counter()
    encode = frozen_module.FrozenEncoder.encode

    def counting(self: FrozenEncoder, x: torch.Tensor) -> torch.Tensor:
        counts.update(bytes(image.contiguous().view(torch.uint8).numpy().tobytes()) for image in x)
        return encode(self, x)

    monkeypatch.setattr(frozen_module.FrozenEncoder, "encode", counting)
    monkeypatch.setattr(frozen_module, "FEATURES", KeptFeatures(10**9))
    return counts


@pytest.fixture
def over_frozen(make_config, tiny, monkeypatch):
    """Configurations of the tiny network over a frozen encoder."""
    row = ARCHITECTURES["tiny"]

    def build(spec: ModelSpec) -> nn.Module:
        network = row.build(spec)
        network.encoder = FrozenEncoder(network.encoder)
        return network

    monkeypatch.setitem(ARCHITECTURES, "tiny", replace(row, build=build, adaptation="frozen"))
    return lambda **changes: make_config(**tiny, epochs=3, ema_decay=0.5, **changes)


def test_val_tiles_are_encoded_once_for_all_epochs_and_trials(monkeypatch, over_frozen, tiles, count_encoded):
    config = over_frozen(augmentation="MEDIUM", window_px=32)
    kept = [list(fit(config, tiles)) for _ in range(2)]
    assert sorted(count_encoded.values())[-1] <= 2  # a draw that both trials had
    monkeypatch.setattr(Segmenter, "keep_features", lambda self, **_: None)
    plain = list(fit(config, tiles))
    for records in kept:
        assert [record.metrics for record in records] == [record.metrics for record in plain]


def test_views_of_whole_train_tiles_are_encoded_once(monkeypatch, over_frozen, tiles, count_encoded):
    config = over_frozen(augmentation="LIGHT", tiles=1, draws_per_epoch=6)
    kept = list(fit(config, tiles))
    assert set(count_encoded.values()) == {1}
    assert len(count_encoded) <= 8 + len(tiles.val)
    monkeypatch.setattr(Segmenter, "keep_features", lambda self, **_: None)
    plain = list(fit(config, tiles))
    for record, other in zip(kept, plain, strict=True):  # batches of one have other last digits than larger ones
        assert record.metrics["train/loss"] == pytest.approx(other.metrics["train/loss"], abs=1e-4)
        assert record.judged == pytest.approx(other.judged, abs=1e-3)


def test_trial_that_resumes_with_nothing_kept_goes_on_equal(monkeypatch, over_frozen, tiles, tmp_path, count_encoded):
    config = over_frozen(augmentation="LIGHT")
    whole = list(fit(config, tiles))
    next(fit(config, tiles, checkpoints=tmp_path, checkpoint_seconds=0))
    monkeypatch.setattr(frozen_module, "FEATURES", KeptFeatures(0))
    resumed = list(fit(config, tiles, resume=tmp_path / NEWEST))
    assert [record.metrics for record in resumed] == [record.metrics for record in whole[1:]]
    assert max(count_encoded.values()) > 2  # as nothing was kept any more
