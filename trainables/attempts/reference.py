"""The five attempts of the reference study as plain data: the settings of each beside the figures it published.

Source: the headline table and the list of attempts of github.com/ai-sci-computing/image-segmentation (README), which
trains on 24, validates on 6 and tests on 6 tiles of Inria's Austin.
"""

from dataclasses import dataclass

from trainables.common.errors import UserError
from trainables.config import Recipe, TrialConfig

SEED = 42
NUM_TILES = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferenceFigures:
    """What the reference study reports of an attempt.

    Attributes:
        val_iou: Best val IoU of an epoch, and `val_f1` of the same epoch; in 0..1.
        test_iou: Test IoU of that epoch's weights, and their `test_f1`; in 0..1.
        best_epoch: That epoch, from 1.
        minutes: Minutes of training on a Colab T4.
    """

    val_iou: float
    val_f1: float
    test_iou: float
    test_f1: float
    best_epoch: int
    minutes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferenceAttempt:
    """One attempt; what all five share is `Recipe`'s and `TrialConfig`'s defaults.

    Attributes:
        title: Its name in the study's headline table.
        architecture: Its row in `ARCHITECTURES`, which also has the batch size.
        lr: Learning rate at the start.
        decoder_dropout: Probability.
        weights: What its encoder starts from: `none`, `imagenet`, or the name of a published file.
        trainable: Number of trainable parameters, in the study's words.
        figures: What the study reports of it.
    """

    title: str
    architecture: str
    lr: float
    decoder_dropout: float
    weights: str
    trainable: str
    figures: ReferenceFigures


ATTEMPTS: dict[str, ReferenceAttempt] = {
    "01": ReferenceAttempt(
        title="U-Net from scratch",
        architecture="unet",
        lr=1e-3,
        decoder_dropout=0.0,
        weights="none",
        trainable="7–30 M",
        figures=ReferenceFigures(val_iou=0.735, val_f1=0.845, test_iou=0.757, test_f1=0.861, best_epoch=36, minutes=74),
    ),
    "02": ReferenceAttempt(
        title="SMP U-Net + ResNet34 (ImageNet)",
        architecture="unet_resnet34",
        lr=1e-3,
        decoder_dropout=0.3,
        weights="imagenet",
        trainable="24 M",
        figures=ReferenceFigures(val_iou=0.765, val_f1=0.865, test_iou=0.796, test_f1=0.886, best_epoch=30, minutes=50),
    ),
    "03": ReferenceAttempt(
        title="SMP DeepLabV3+ + ResNet34 (ImageNet)",
        architecture="deeplabv3plus_resnet34",
        lr=1e-3,
        decoder_dropout=0.3,
        weights="imagenet",
        trainable="25 M",
        figures=ReferenceFigures(val_iou=0.772, val_f1=0.870, test_iou=0.802, test_f1=0.890, best_epoch=39, minutes=65),
    ),
    "04": ReferenceAttempt(
        title="SAM ViT-B frozen + conv decoder",
        architecture="sam_conv",
        lr=1e-4,
        decoder_dropout=0.3,
        weights="sam_vit_b_01ec64.pth",
        trainable="1–3 M",
        figures=ReferenceFigures(
            val_iou=0.690, val_f1=0.814, test_iou=0.646, test_f1=0.783, best_epoch=18, minutes=127
        ),
    ),
    "05": ReferenceAttempt(
        title="SAM ViT-B + U-Net decoder (skip connections)",
        architecture="sam_unet",
        lr=1e-4,
        decoder_dropout=0.3,
        weights="sam_vit_b_01ec64.pth",
        trainable="5–10 M",
        figures=ReferenceFigures(
            val_iou=0.740, val_f1=0.849, test_iou=0.758, test_f1=0.862, best_epoch=18, minutes=104
        ),
    ),
}


def get_attempt(number: str) -> tuple[str, ReferenceAttempt]:
    """The attempt of a number, written with or without its zero, and the number with it.

    Raises:
        UserError: There is none.
    """
    known = number.zfill(2)
    if known not in ATTEMPTS:
        raise UserError(f"--attempt is {number}, but must be one of {', '.join(ATTEMPTS)}")
    return known, ATTEMPTS[known]


def reference_config(attempt: ReferenceAttempt) -> TrialConfig:
    """The configuration as the study had it: MEDIUM, BCE and Dice by halves, AdamW, 60 epochs of 400 draws, seed 42."""
    return TrialConfig(
        architecture=attempt.architecture,
        tiles=NUM_TILES,
        lr=attempt.lr,
        augmentation="MEDIUM",
        decoder_dropout=attempt.decoder_dropout,
        bce_weight=0.5,
        weights=attempt.weights,
        init_seed=SEED,
        recipe=Recipe(subset_seed=SEED, draw_seed=SEED),
    )
