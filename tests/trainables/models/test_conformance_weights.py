"""What every pretrained encoder keeps: files laid out as published, with random values, through the architectures."""

import functools
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import segmentation_models_pytorch as smp
import timm
import torch
from safetensors.torch import save_file
from segment_anything import sam_model_registry
from segment_anything.modeling import ImageEncoderViT, Sam
from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from torch import nn
from torchvision.models import get_weight, resnet, resnet50
from torchvision.models.segmentation import deeplabv3_resnet50

from tests.trainables.models.test_weights import ABC
from trainables.common.whole_files import digest
from trainables.models import sam
from trainables.models.architecture import Normalisation
from trainables.models.architectures import ARCHITECTURES
from trainables.models.spec import ModelSpec
from trainables.models.weight_files import PUBLISHED, TORCHVISION

State = dict[str, torch.Tensor]


def under(prefix: str, state: State) -> State:
    return {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}


def of_smp(name: str) -> tuple[State, State]:
    state = smp.encoders.get_encoder(name, weights=None).state_dict()
    classifier = {"head.weight": torch.zeros(1000, 512), "head.bias": torch.zeros(1000)} if name == "mit_b3" else {}
    return state | classifier, state


def of_timm() -> tuple[State, State]:
    state = timm.create_model("vit_small_patch16_224", pretrained=False).state_dict()
    state["pos_embed"] = torch.randn_like(state["pos_embed"])
    taken = {key: value for key, value in state.items() if key != "cls_token" and not key.startswith("head.")}
    taken["pos_embed"] = state["pos_embed"][:, 1:]  # without the class token's
    return state, {f"vit.{key}": value for key, value in taken.items()}


def of_sam() -> tuple[State, State]:
    model = sam_model_registry["vit_b"]()
    for name, parameter in model.image_encoder.named_parameters():
        if "pos" in name:  # zeros hide mistakes
            nn.init.normal_(parameter, std=0.1)
    return model.state_dict(), {f"inner.{key}": value for key, value in model.image_encoder.state_dict().items()}


def of_torchvision(kind: str) -> tuple[State, State]:
    if kind == "imagenet":  # as published: older than the counters of batch norms
        state = {k: v for k, v in resnet50(weights=None).state_dict().items() if not k.endswith("num_batches_tracked")}
        return state, {key: value for key, value in state.items() if not key.startswith("fc.")}
    state = deeplabv3_resnet50(weights=None, weights_backbone=None, num_classes=21, aux_loss=True).state_dict()
    return state, under("backbone.", state)


FILES: dict[str, tuple[str, Callable[[], tuple[State, State]]]] = {
    "resnet34": ("resnet34", lambda: of_smp("resnet34")),
    "mit_b3": ("mit_b3", lambda: of_smp("mit_b3")),
    "vit_small_patch16_224": ("vit_small_patch16_224", of_timm),
    "sam_vit_b": ("sam_vit_b", of_sam),
    "deeplabv3_resnet50": ("deeplabv3_resnet50", lambda: of_torchvision("coco")),
    "resnet50": ("deeplabv3_resnet50", lambda: of_torchvision("imagenet")),
}
"""Name of a file to the encoder that it is of, and to what it holds and what of that the encoder takes."""

NAMES = {
    file: [n for n, row in ARCHITECTURES.items() if row.encoder == encoder] for file, (encoder, _) in FILES.items()
}
"""The architectures that take a file; those of one encoder load it by the same function."""
WITH_WEIGHTS = [name for name, row in ARCHITECTURES.items() if row.encoder is not None]


@pytest.fixture(scope="module", autouse=True)
def _few_blocks() -> Iterator[None]:
    """ResNets, MiT-B3 and SAM's ViT-B with a few of their many blocks, loaded alike; all else is as published."""

    def shallow(original: Callable[..., nn.Module], block: Any, _: Any, *others: Any, **more: Any) -> nn.Module:
        return original(block, [1, 2, 1, 1], *others, **more)

    def few(**arguments: Any) -> ImageEncoderViT:
        return ImageEncoderViT(**arguments | {"depth": 2, "global_attn_indexes": (1,)})

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(smp.encoders.encoders["mit_b3"]["params"], "depths", [1, 2, 1, 1])
        patch.setitem(smp.encoders.encoders["resnet34"]["params"], "layers", [1, 2, 1, 1])
        patch.setattr(resnet, "_resnet", functools.partial(shallow, resnet._resnet))
        for module in (sys.modules["segment_anything.build_sam"], sam):
            patch.setattr(module, "ImageEncoderViT", few)
        yield


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], tuple[Path, State, State]]]:
    """A file by its name in `FILES`: its path, what it holds, and the encoder's tensors in it."""
    made: dict[str, tuple[Path, State, State]] = {}

    def make(name: str) -> tuple[Path, State, State]:
        if name not in made:
            torch.manual_seed(3)
            state, taken = FILES[name][1]()
            for key, value in state.items():  # zeros and ones hide mistakes
                if key.endswith("running_mean"):
                    nn.init.uniform_(value)
                elif key.endswith("num_batches_tracked"):
                    value.fill_(7)
            path = tmp_path_factory.mktemp("weights") / f"{name}{'.safetensors' if name == 'mit_b3' else '.pth'}"
            (save_file if path.suffix == ".safetensors" else torch.save)(state, path)
            made[name] = path, state, taken
        return made[name]

    yield make
    for path, *_ in made.values():
        path.unlink()


def take_for_published(monkeypatch: pytest.MonkeyPatch, path: Path) -> None:
    """SAM's weights are one published file, known by its digest."""
    monkeypatch.setitem(PUBLISHED, "sam_vit_b", replace(PUBLISHED["sam_vit_b"], sha256=digest(path)))


def build(name: str, path: Path, seed: int = 0, **changes: object) -> nn.Module:
    torch.manual_seed(seed)
    return ARCHITECTURES[name].build(ModelSpec(**{"num_bands": 3, "num_outputs": 1, "weights": str(path)} | changes))


def tensors(module: nn.Module) -> State:
    """All of them, a frozen encoder's too, which state dicts leave out."""
    return dict(module.named_parameters()) | dict(module.named_buffers())


def test_every_encoder_of_the_table_has_a_file():
    assert {name for names in NAMES.values() for name in names} == set(WITH_WEIGHTS)


@pytest.mark.parametrize("file", FILES)
def test_weights_land_bit_by_bit_in_the_encoder_and_nowhere_else(file, published, monkeypatch):
    path, _, expected = published(file)
    take_for_published(monkeypatch, path)
    first = next(key for key, value in expected.items() if value.ndim == 4 and value.shape[1] == 3)
    decoders = []
    for num_bands, name in ((3, NAMES[file][0]), (4, NAMES[file][-1])):
        model = build(name, path, seed=num_bands, num_bands=num_bands)
        found = tensors(model.encoder)
        missing = set(found) - set(expected)
        assert expected.keys() <= found.keys()
        assert all(key.endswith("num_batches_tracked") for key in missing)
        assert [k for k, value in expected.items() if k != first and not torch.equal(found[k], value)] == []
        # other bands take the three in turn, scaled so that activations keep their size
        adapted = expected[first] if num_bands == 3 else expected[first][:, [0, 1, 2, 0]] * 0.75
        assert torch.allclose(found[first], adapted)
        others = [p for key, p in model.named_parameters() if not key.startswith(("encoder.", "model.backbone."))]
        decoders.append(torch.cat([parameter.flatten() for parameter in others]))
    assert not torch.equal(*decoders)  # random, by the seed or of another architecture


@pytest.mark.parametrize("name", ["unet", "unet_width16"])
def test_architecture_without_an_encoder_looks_at_no_weights(name):
    assert build(name, Path("nowhere.pth"), small=True).head.out_channels == 1


@pytest.mark.parametrize("file", FILES)
def test_weights_of_something_else_are_refused(file, published, tmp_path, monkeypatch, refusal):
    whole = published(file)[1]
    half = {key: torch.zeros(()).expand(whole[key].shape) for key in list(whole)[::2]}  # which is soon written
    for content in ({"conv1.weight": torch.zeros(3)}, half):
        path = tmp_path / "other.pth"
        torch.save(content, path)
        take_for_published(monkeypatch, path)
        message = refusal(lambda its=path: build(NAMES[file][0], its))
        assert message.startswith(f"{path} does not fit ")
        assert ": pass " in message


@pytest.mark.parametrize("name", WITH_WEIGHTS)
def test_weights_of_another_digest_are_refused(name, tmp_path, monkeypatch, refusal):
    monkeypatch.delitem(PUBLISHED, "sam_vit_b")
    path = tmp_path / "w.pth"
    path.write_bytes(b"other weights")
    message = refusal(lambda: build(name, path, weights_digest=ABC))
    assert f"from {ARCHITECTURES[name].encoder} of ba7816bf8f01…" in message


def of_library(encoder: str) -> Normalisation:
    """What the library of an encoder does to photographs before it sees them."""
    if encoder == "sam_vit_b":
        model = Sam(nn.Identity(), nn.Identity(), nn.Identity())
        mean, std = model.pixel_mean.flatten() / 255, model.pixel_std.flatten() / 255
        return Normalisation(mean=tuple(mean.tolist()), std=tuple(std.tolist()))
    if encoder.startswith("vit"):
        settings = timm.get_pretrained_cfg(encoder)
        return Normalisation(mean=settings.mean, std=settings.std)
    if encoder in TORCHVISION:
        done = get_weight(TORCHVISION[encoder]["coco"].entry).transforms()
        return Normalisation(mean=tuple(done.mean), std=tuple(done.std))
    return Normalisation(mean=IMAGENET_DEFAULT_MEAN, std=IMAGENET_DEFAULT_STD)  # segmentation-models-pytorch's, by timm


@pytest.mark.parametrize("name", WITH_WEIGHTS)
def test_normalisation_is_that_of_the_encoders_library(name):
    row = ARCHITECTURES[name]
    expected = of_library(row.encoder)
    assert row.normalisation.mean == pytest.approx(expected.mean)
    assert row.normalisation.std == pytest.approx(expected.std)
