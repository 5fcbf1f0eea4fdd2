import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from trainables.data.tiles import IGNORE
from trainables.losses import (
    Loss,
    cldice_loss,
    dice_loss,
    segmentation_loss,
    soft_skeleton,
)
from trainables.names import LOSSES

LOG_3 = math.log(3.0)


def masks_of(*rows: list[int]) -> torch.Tensor:
    return torch.tensor([rows], dtype=torch.uint8)


# Probabilities 1/2, 1/4, 3/4, 3/4 where the truth is 1, 0, 1, 0
BINARY_LOGITS = torch.tensor([[[[0.0, -LOG_3], [LOG_3, LOG_3]]]])
BINARY_MASK = masks_of([1, 0], [1, 0])
BINARY_BCE = (math.log(2) + math.log(4 / 3) + math.log(4 / 3) + math.log(4)) / 4
# Overlap 1/2 + 3/4, total 9/4 + 2, and one pixel of smoothing
BINARY_DICE = 1 - (2 * 1.25 + 1) / (4.25 + 1)

# Softmax (1/2, 1/4, 1/4) where the truth is class 0, (1/5, 3/5, 1/5) where it is class 2; class 1 does not occur
THREE_LOGITS = torch.tensor([[[[math.log(2), 0.0]], [[0.0, LOG_3]], [[0.0, 0.0]]]])
THREE_MASK = masks_of([0, 2])
THREE_ENTROPY = (math.log(2) + math.log(5)) / 2
THREE_DICE = 1 - ((2 * 0.5 + 1) / (0.7 + 1 + 1) + 1 / (0.85 + 1) + (2 * 0.2 + 1) / (0.45 + 1 + 1)) / 3

CASES = {
    "binary": (BINARY_LOGITS, BINARY_MASK, BINARY_BCE, BINARY_DICE),
    "three": (THREE_LOGITS, THREE_MASK, THREE_ENTROPY, THREE_DICE),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("weight", [0.0, 0.3, 0.5, 1.0])
def test_loss_has_the_value_computed_by_hand(case, weight):
    logits, masks, entropy, dice = CASES[case]
    loss = segmentation_loss(logits, masks, weight)
    assert (loss.shape, loss.dtype) == ((), torch.float32)
    assert loss.item() == pytest.approx(weight * entropy + (1 - weight) * dice, rel=1e-5)
    assert segmentation_loss(logits, masks.long(), weight).item() == loss.item()
    half = segmentation_loss(logits.to(torch.bfloat16), masks, weight)
    assert half.dtype == torch.float32
    assert half.item() == pytest.approx(loss.item(), rel=0.01)


def test_loss_pools_dice_over_the_batch():
    # One tile all foreground, one all background, both predicted well: pooled Dice is no mean of two Dices
    logits = torch.stack([torch.full((1, 2, 2), LOG_3), torch.full((1, 2, 2), -LOG_3)])
    masks = torch.stack([torch.ones(2, 2, dtype=torch.uint8), torch.zeros(2, 2, dtype=torch.uint8)])
    overlap, total = 4 * 0.75, 4 * 0.75 + 4 * 0.25 + 4
    assert segmentation_loss(logits, masks, 0.0).item() == pytest.approx(1 - (2 * overlap + 1) / (total + 1), rel=1e-5)


@pytest.mark.parametrize("num_outputs", [1, 3])
def test_loss_with_ignored_pixels_is_that_of_the_others(num_outputs):
    logits = torch.randn(1, num_outputs, 4, 4, generator=torch.Generator().manual_seed(0), requires_grad=True)
    masks = masks_of([0, 1, 1, 0], [1, 1, 0, 0], [0, 0, 1, 1], [0, 1, 0, 1])
    part = segmentation_loss(logits[:, :, :2], masks[:, :2], 0.4)
    masks[:, 2:] = IGNORE
    assert segmentation_loss(logits, masks, 0.4).item() == pytest.approx(part.item(), rel=1e-6)


@pytest.mark.parametrize("num_outputs", [1, 3])
@pytest.mark.parametrize("value", [0, 1, IGNORE])
@pytest.mark.parametrize("size", [0.0, 5.0, 1e4])
def test_loss_and_gradient_are_finite_for_constant_masks(num_outputs, value, size):
    generator = torch.Generator().manual_seed(0)
    logits = (size * torch.randn(2, num_outputs, 4, 4, generator=generator)).requires_grad_()
    loss = segmentation_loss(logits, torch.full((2, 4, 4), value, dtype=torch.uint8), 0.5)
    loss.backward()
    assert math.isfinite(loss.item())
    assert torch.isfinite(logits.grad).all()


# Losses by name


def focal_by_hand(case: str) -> float:
    """Mean over classes and pixels of (1 − p)²·−log p, p of the truth, each class's sigmoid against all others."""
    logits, masks, *_ = CASES[case]
    classes = [1] if logits.shape[1] == 1 else range(logits.shape[1])
    terms = []
    for place, label in enumerate(classes):
        for logit, truth in zip(logits[0, place].flatten().tolist(), masks[0].flatten().tolist(), strict=True):
            p = 1 / (1 + math.exp(-logit if truth == label else logit))
            terms.append((1 - p) ** 2 * -math.log(p))
    return sum(terms) / len(terms)


@pytest.mark.parametrize("case", CASES)
def test_losses_by_name_have_the_values_computed_by_hand(case):
    logits, masks, entropy, dice = CASES[case]
    for loss, value in (
        (Loss(name="cross_entropy"), entropy),
        (Loss(name="dice"), dice),
        (Loss(name="bce_dice", bce_weight=0.3), 0.3 * entropy + 0.7 * dice),
        (Loss(name="focal_dice", focal_weight=0.2), 0.2 * focal_by_hand(case) + 0.8 * dice),
    ):
        assert loss(logits, masks).item() == pytest.approx(value, rel=1e-5)


@pytest.mark.parametrize("name", LOSSES)
@given(num_outputs=st.sampled_from([1, 4]), seed=st.integers(0, 1000), other=st.floats(-9, 9))
def test_every_loss_ignores_what_does_not_count(name, num_outputs, seed, other):
    generator, loss = torch.Generator().manual_seed(seed), Loss(name=name)
    logits = torch.randn(2, num_outputs, 16, 16, generator=generator).requires_grad_()
    masks = torch.randint(0, max(2, num_outputs), (2, 16, 16), generator=generator).to(torch.uint8)
    masks[:, 4:9, 3:] = IGNORE
    changed, nothing = torch.where((masks == IGNORE)[:, None], other, logits.detach()), torch.full_like(masks, IGNORE)
    if "cldice" not in name:  # a skeleton looks at its neighbours: those of ignored pixels may turn
        value = loss(logits, masks)
        (gradient,) = torch.autograd.grad(value, logits)
        assert value.item() == pytest.approx(loss(changed, masks).item(), rel=1e-5)
        assert (gradient[:, :, 4:9, 3:] == 0).all()
        assert (gradient[:, :, :4] != 0).any()
        value = loss(logits, nothing)
        (gradient,) = torch.autograd.grad(value, logits)
        assert (value.item(), bool(gradient.any())) == (0.0, False)
    assert loss(logits, nothing).item() == pytest.approx(loss(changed, nothing).item(), rel=1e-5)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("num_outputs", [1, 3])
def test_every_loss_falls_by_its_gradient_and_is_least_at_the_truth(name, num_outputs):
    torch.manual_seed(0)
    masks = torch.zeros(2, 24, 24, dtype=torch.uint8)
    masks[:, 10:13] = 1
    masks[1, :, 5:8] = max(1, num_outputs - 1)
    logits = torch.randn(2, num_outputs, 24, 24, requires_grad=True)
    loss = Loss(name=name)
    value = loss(logits, masks)
    (gradient,) = torch.autograd.grad(value, logits)
    assert torch.isfinite(gradient).all()
    assert loss(logits - 0.1 * gradient / gradient.norm(), masks) < value
    one_hot = torch.nn.functional.one_hot(masks.long(), max(2, num_outputs)).permute(0, 3, 1, 2)
    best = 20.0 * (2.0 * one_hot[:, -num_outputs:] - 1.0)
    assert 0.0 <= loss(best, masks).item() < 0.02 < value.item()


# clDice


def bar(*, top: int, height: int, left: int = 4, right: int = 28) -> torch.Tensor:
    picture = torch.zeros(1, 1, 32, 32)
    picture[..., top : top + height, left:right] = 1.0
    return picture


ALL = torch.ones(1, 32, 32, dtype=torch.bool)


@pytest.mark.parametrize("height", [1, 3, 5, 9])
def test_skeleton_of_a_bar_is_the_line_in_its_middle(height):
    skeleton = soft_skeleton(bar(top=10, height=height))[0, 0]
    rows = skeleton[:, 12:20].sum(dim=1)  # away from its ends
    assert rows.nonzero().flatten().tolist() == [10 + height // 2]
    assert (skeleton[10 + height // 2, 12:20] == 1).all()


def test_cldice_is_zero_at_the_truth_lets_width_go_and_minds_a_gap_by_hand():
    truth = bar(top=10, height=5)
    assert cldice_loss(truth, truth, ALL).item() == pytest.approx(0.0, abs=1e-6)
    # Half as wide on the same centre line: Dice minds, clDice does not
    thin = bar(top=11, height=3)
    assert cldice_loss(thin, truth, ALL).item() < 0.02
    assert dice_loss(thin, truth, ALL).item() > 0.2
    truth = bar(top=10, height=1, left=4, right=28)  # 24 px, its own skeleton
    broken = truth.clone()
    broken[..., 12:20] = 0.0  # 8 of them gone; what is left is its own skeleton, too
    precision, sensitivity = 1.0, (16 + 1) / (24 + 1)
    expected = 1 - 2 * precision * sensitivity / (precision + sensitivity)
    assert cldice_loss(broken, truth, ALL).item() == pytest.approx(expected, rel=1e-5)


def test_cldice_forgets_ignored_pixels():
    truth = bar(top=10, height=3)
    counts = ALL.clone()
    counts[:, 20:] = False
    stray = truth.clone()
    stray[..., 25:28, :] = 1.0
    assert cldice_loss(stray, truth, counts).item() == cldice_loss(truth, truth, counts).item()


@pytest.mark.parametrize(
    ("loss", "words"),
    [
        (Loss(bce_weight=0.7), "BCE/Dice 0.7/0.3"),
        (Loss(name="dice"), "dice"),
        (Loss(name="bce_dice_cldice", cldice_weight=0.2), "bce_dice_cldice, bce_weight 0.5, cldice_weight 0.2"),
    ],
)
def test_words_name_the_weights_that_count(loss, words):
    assert loss.words == words
