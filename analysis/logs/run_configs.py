"""What the W&B runs of a study and of its trials say in their configurations: keys and types, as in `rows`.

Keys that are `NotRequired` are missing where there is nothing to say, and from logs that are older than the key. A
reader leaves out runs that lack one of the others. This file imports nothing but the standard library.
"""

from collections.abc import Iterable
from typing import Any, Literal, NotRequired, TypedDict

STUDY_JOB: Literal["study"] = "study"
TRIAL_JOB: Literal["trial"] = "trial"
"""W&B's job types."""

OFFLINE_REASON = "wandb_mode"
"""Key in the configuration of a run that should be online and is offline; its value says why."""

THEN = " then "
"""Between what a trial was computed with before and after that changed: `fp32 then bf16`."""

NEVER_ADAPTED = ("none", "own")
"""Weights of an arm that nobody adapts to other bands: none, and those that a person's own network loads itself."""

Trivial = TypedDict("Trivial", {"class": str, "iou": float, "f1": float, "judged": NotRequired[float]})
"""The class that is best predicted for every pixel, and what that scores on the val tiles: on whole tiles, and by the
judged metric."""


class ArmFacts(TypedDict):
    """What the study's run says of an arm.

    Attributes:
        arm: Its name, such as `unet-24`.
        architecture: Its name, and `architecture_label` with what differs from the architecture of that name.
        is_stand_in: Whether something does: it is a smaller variant, or its encoder is random.
        track: "cnn", "frozen_encoder" or "transformer".
        weights: What its encoder starts from: a keyword, a file's name, or "own" for whatever a person's function does.
        tiles: Its data budget.
        trials: Its allowance.
        num_trainable, num_frozen: Parameters.
        ranges: By hyperparameter, `choices`, or `low`, `high` and `log` (whether magnitudes are drawn evenly); `space`
            has the same in words.
        has_encoder: Whether there is an encoder that weights could be for, and its name does not say that it has none.
        decoder, encoder: Of its network; `encoder` is empty where it has its own, which is never pretrained.
        adaptation: Of the encoder: "scratch", "frozen", "staged" or "full".
        source: Papers, libraries, the licence of the weights, and what sides and pixels the network takes.
        chosen: In phase 3, the configuration that an earlier study selected, and where.
        recipe_of: The arm of the search beside which it is trained, by the recipe.
        folds: Of its labels, which judge its search; only where budgets are of labels.
        fold_tiles: The ids of the labels of each of them; missing from older logs.
    """

    arm: str
    architecture: str
    architecture_label: str
    is_stand_in: bool
    track: str
    weights: str
    tiles: int
    trials: int
    num_trainable: int
    num_frozen: int
    ranges: dict[str, Any]
    space: NotRequired[dict[str, str]]
    has_encoder: NotRequired[bool]
    decoder: NotRequired[str]
    encoder: NotRequired[str]
    adaptation: NotRequired[str]
    source: NotRequired[str]
    chosen: NotRequired[dict[str, Any]]
    recipe_of: NotRequired[str]
    folds: NotRequired[int]
    fold_tiles: NotRequired[list[list[str]]]


def competing(arms: Iterable[ArmFacts]) -> list[ArmFacts]:
    """Returns the arms that are compared with each other: all but the recipes that stand beside what was tuned."""
    return [arm for arm in arms if "recipe_of" not in arm]


class Slots(TypedDict):
    """How many trials run at a time, and the CPU cores and GPUs of one."""

    count: int
    cpus: int
    gpus: float


class Published(TypedDict, total=False):
    """What the reference study published of an architecture: scores in [0, 1], epoch from 1, minutes on one T4."""

    val_iou: float
    val_f1: float
    test_iou: float
    test_f1: float
    best_epoch: int
    minutes: float


class StudyRunConfig(TypedDict):
    """The configuration of a study's run.

    Attributes:
        study: The study's name, and `study_id`, which no other study of that name has.
        phase, profile, seed: As in the spec.
        judged_metric: What decides, such as `val/iou`.
        arms: In their order.
        trivial: The score of the trivial predictor.
        val_tiles, test_tiles, train_tiles: Ids, in the tiles' order. Where the spec has `labels`, all
            labelled tiles are train tiles.
        further_tiles: Ids of each further test set, by its split `test-<name>`; only where there are some.
        num_train_tiles, num_val_tiles: Counts.
        slots: Of the first Ray that the run had.
        spec: All settings, by the names of their flags.
        groups: A tile's place, by tile id, for tiles whose place is known.
        tiles_digest: SHA-256 of the train and val tiles.
        data_notes: What was odd about the tiles, a sentence each.
        weights_digests: SHA-256 of the pretrained weights, by encoder.
        versions: Of Python and the libraries.
        classes: Names, and `class_colors` as `#rrggbb`.
        class_pixels: Pixels per class, and `ignored_pixels` those that do not count; by split ("train", "val").
        panel_gap_px: Columns between the panels of a picture.
        adapted_bands: Of tiles that are no 8-bit RGB, to which pretrained weights were adapted; empty elsewhere.
        published: By architecture, where the study repeats the reference study.
    """

    study: str
    phase: str
    profile: str
    seed: int
    judged_metric: str
    arms: list[ArmFacts]
    trivial: Trivial
    val_tiles: list[str]
    test_tiles: list[str]
    num_train_tiles: int
    slots: Slots
    spec: dict[str, Any]
    study_id: NotRequired[str]
    train_tiles: NotRequired[list[str]]
    num_val_tiles: NotRequired[int]
    further_tiles: NotRequired[dict[str, list[str]]]
    groups: NotRequired[dict[str, str]]
    tiles_digest: NotRequired[str]
    data_notes: NotRequired[list[str]]
    weights_digests: NotRequired[dict[str, str]]
    versions: NotRequired[dict[str, str]]
    classes: NotRequired[list[str]]
    class_colors: NotRequired[list[str]]
    class_pixels: NotRequired[dict[str, list[int]]]
    ignored_pixels: NotRequired[dict[str, int]]
    panel_gap_px: NotRequired[int]
    adapted_bands: NotRequired[list[str]]
    published: NotRequired[dict[str, Published]]


class TrialRunConfig(TypedDict):
    """The configuration of a trial's run.

    Attributes:
        arm: The arm that the trial counts for.
        run_arm: The arm that it is logged under: final models that confirm a search have one of their own.
        trial: Its number in `run_arm`, from 0.
        stage: "search" or "final".
        study, study_id, profile, judged_metric: As the study's.
        resumed_after: Epochs of earlier runs, which this one repeats.
        micro_batch_size: Draws at once; 0 for whole batches.
        architecture, architecture_label, tiles: As the arm's.
        signature: Of its configuration.
        hyperparameters: By name.
        device: "cpu" or "cuda".
        dtype: What it is computed in ("fp32", "bf16" or "fp16"), and `device_model` on what; with `THEN` between the
            values of a trial for which that changed.
        worker: Host and process id.
        trial_config: The whole configuration.
    """

    arm: str
    run_arm: str
    trial: int
    stage: str
    study: NotRequired[str]
    study_id: NotRequired[str]
    profile: NotRequired[str]
    judged_metric: NotRequired[str]
    resumed_after: NotRequired[int]
    micro_batch_size: NotRequired[int]
    architecture: NotRequired[str]
    architecture_label: NotRequired[str]
    tiles: NotRequired[int]
    signature: NotRequired[str]
    hyperparameters: NotRequired[dict[str, Any]]
    device: NotRequired[str]
    dtype: NotRequired[str]
    device_model: NotRequired[str]
    worker: NotRequired[str]
    trial_config: NotRequired[dict[str, Any]]


def required(holds: type) -> tuple[str, ...]:
    """Returns the keys that a configuration or a row of a type must have, in the type's order."""
    keys: frozenset[str] = holds.__required_keys__  # type: ignore[attr-defined]
    return tuple(key for key in holds.__annotations__ if key in keys)
