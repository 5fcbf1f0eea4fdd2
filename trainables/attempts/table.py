"""The five attempts of the reference study: the settings of each in one look, beside the figures that it published."""

from dataclasses import dataclass

from trainables.common.errors import UserError
from trainables.config import Recipe, TrialConfig
from trainables.models.architectures import ARCHITECTURES
from trainables.models.weights import PUBLISHED


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """What the study reports of an attempt, on 24 / 6 / 6 tiles of Inria's Austin.

    Attributes:
        trainable: Trainable parameters, as it words them.
        val_iou: Best val IoU; `val_f1` of the same epoch, `best_epoch`.
        test_iou: Of that epoch's weights on the test tiles, read once; `test_f1` likewise.
        minutes_t4: Of training on a Colab T4.
    """

    trainable: str
    val_iou: float
    val_f1: float
    test_iou: float
    test_f1: float
    best_epoch: int
    minutes_t4: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One attempt; what all five share is `Recipe`'s and `TrialConfig`'s defaults.

    Attributes:
        title: As in the study's headline table.
        architecture: Its row, which also has the batch size.
        lr: Learning rate.
        decoder_dropout: Probability.
        published: The study's own figures.
    """

    title: str
    architecture: str
    lr: float
    decoder_dropout: float
    published: Published

    @property
    def weights(self) -> str:
        """What its encoder started from: `none`, `imagenet`, or the name of a published file."""
        encoder = ARCHITECTURES[self.architecture].encoder
        return "none" if encoder is None else PUBLISHED[encoder].name if encoder in PUBLISHED else "imagenet"


SEED = 42
NUM_TILES = 24

ATTEMPTS: dict[str, Attempt] = {
    "01": Attempt(
        title="U-Net from scratch",
        architecture="unet",
        lr=1e-3,
        decoder_dropout=0.0,
        published=Published(
            trainable="7–30 M",
            val_iou=0.735,
            val_f1=0.845,
            test_iou=0.757,
            test_f1=0.861,
            best_epoch=36,
            minutes_t4=74,
        ),
    ),
    "02": Attempt(
        title="SMP U-Net + ResNet34 (ImageNet)",
        architecture="unet_resnet34",
        lr=1e-3,
        decoder_dropout=0.3,
        published=Published(
            trainable="24 M",
            val_iou=0.765,
            val_f1=0.865,
            test_iou=0.796,
            test_f1=0.886,
            best_epoch=30,
            minutes_t4=50,
        ),
    ),
    "03": Attempt(
        title="SMP DeepLabV3+ + ResNet34 (ImageNet)",
        architecture="deeplabv3plus_resnet34",
        lr=1e-3,
        decoder_dropout=0.3,
        published=Published(
            trainable="25 M",
            val_iou=0.772,
            val_f1=0.870,
            test_iou=0.802,
            test_f1=0.890,
            best_epoch=39,
            minutes_t4=65,
        ),
    ),
    "04": Attempt(
        title="SAM ViT-B frozen + conv decoder",
        architecture="sam_conv",
        lr=1e-4,
        decoder_dropout=0.3,
        published=Published(
            trainable="1–3 M",
            val_iou=0.690,
            val_f1=0.814,
            test_iou=0.646,
            test_f1=0.783,
            best_epoch=18,
            minutes_t4=127,
        ),
    ),
    "05": Attempt(
        title="SAM ViT-B + U-Net decoder (skip connections)",
        architecture="sam_unet",
        lr=1e-4,
        decoder_dropout=0.3,
        published=Published(
            trainable="5–10 M",
            val_iou=0.740,
            val_f1=0.849,
            test_iou=0.758,
            test_f1=0.862,
            best_epoch=18,
            minutes_t4=104,
        ),
    ),
}
"""Source: the headline table and the list of attempts of github.com/ai-sci-computing/image-segmentation (README)."""


def get_attempt(number: str) -> tuple[str, Attempt]:
    """The attempt of a number, written with or without its zero, and the number with it.

    Raises:
        UserError: There is none.
    """
    known = number.zfill(2)
    if known not in ATTEMPTS:
        raise UserError(f"--attempt is {number}, but must be one of {', '.join(ATTEMPTS)}")
    return known, ATTEMPTS[known]


def published_config(attempt: Attempt) -> TrialConfig:
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
