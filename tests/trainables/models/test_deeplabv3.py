"""DeepLabV3 of torchvision: its whole weights but the last layer, and what is changed about the model."""

from typing import Any

import pytest
import torch
from torch import nn
from torchvision.models.segmentation import deeplabv3_resnet50

from trainables.models.deeplabv3 import deeplabv3
from trainables.models.spec import ModelSpec

NUM_VOC_CLASSES = 21


def spec(**changes: Any) -> ModelSpec:
    return ModelSpec(**{"num_bands": 3, "num_outputs": 2} | changes)


def test_coco_weights_land_bit_by_bit_but_for_the_last_layer_which_is_random(tmp_path):
    torch.manual_seed(3)
    theirs = deeplabv3_resnet50(weights=None, weights_backbone=None, num_classes=NUM_VOC_CLASSES, aux_loss=True)
    theirs.train()(torch.rand(2, 3, 64, 64))  # batch norms in a state that no fresh model has
    state, path = theirs.state_dict(), tmp_path / "coco.pth"
    torch.save(state, path)
    torch.manual_seed(0)
    one = deeplabv3(spec(num_outputs=NUM_VOC_CLASSES, weights=str(path), decoder_dropout=0.3)).eval()
    loaded, last = one.model.state_dict(), {"classifier.4.weight", "classifier.4.bias"}
    assert last <= set(loaded)
    assert set(loaded) == {key for key in state if not key.startswith("aux_classifier.")}
    assert all(torch.equal(loaded[key], state[key]) for key in set(loaded) - last)
    torch.manual_seed(1)
    other = deeplabv3(spec(num_outputs=NUM_VOC_CLASSES, weights=str(path))).model.classifier[4]
    assert not torch.equal(loaded["classifier.4.weight"], other.weight)
    assert not torch.equal(loaded["classifier.4.weight"], state["classifier.4.weight"])

    one.model.classifier[4] = theirs.classifier[4]
    pixels = torch.rand(1, 3, 64, 96)
    with torch.inference_mode():
        assert torch.equal(one(pixels), theirs.eval()(pixels)["out"])


@pytest.mark.parametrize(("small", "raised"), [(False, 8), (True, 16)])
def test_model_raises_its_mask_to_the_inputs_size_bilinearly(small, raised):
    model = deeplabv3(spec(small=small)).eval()
    low = []
    model.model.classifier.register_forward_hook(lambda _, __, output: low.append(output))
    with torch.inference_mode():
        logits = model(torch.rand(1, 3, 64, 96))
    assert low[0].shape == (1, 2, 64 // raised, 96 // raised)
    expected = nn.functional.interpolate(low[0], size=(64, 96), mode="bilinear", align_corners=False)
    assert torch.equal(logits, expected)
