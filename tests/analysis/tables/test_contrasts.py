"""Which architectures are contrasted: those that differ in one thing. What is computed: see `test_iou_tables`."""

import pytest

from analysis.tables.contrasts import ADAPTATIONS, planned_pairs
from studies.command_line import make_spec
from studies.settings.arms import Arm
from tests.analysis.made_up import arm_facts
from trainables.models.composed.names import get_architecture


def pairs(*names: str, weights: str = "none") -> list[str]:
    """The contrasts of some architectures, each as `first - second: what`."""
    spec = make_spec({"architectures": list(names), "weights": [weights]})
    arms = []
    for name in names:
        row = get_architecture(name)
        network = {"decoder": row.decoder or name, "encoder": row.encoder or ""}
        arms.append(arm_facts(name, 5, **network, adaptation=row.adapted(Arm(name, 5).weights(spec))))
    return [f"{one['architecture']} - {other['architecture']}: {what}" for one, other, what in planned_pairs(arms)]


LITE = "unet:efficientnet_lite0"


@pytest.mark.parametrize(
    ("names", "weights", "expected"),
    [
        (
            ("unet", "unet_resnet34", "deeplabv3plus_resnet34", "sam_conv", "sam_unet"),
            "imagenet",
            [
                "unet_resnet34 - unet: encoder and its pretraining",
                "deeplabv3plus_resnet34 - unet_resnet34: decoder",
                "sam_unet - sam_conv: decoder",
            ],
        ),
        (("unet", "unet_resnet34"), "none", ["unet_resnet34 - unet: encoder"]),
        (
            (f"{LITE}@scratch", f"{LITE}@frozen", LITE, "deeplabv3plus:efficientnet_lite0"),
            "none",
            [
                f"{LITE}@frozen - {LITE}@scratch: pretraining, encoder frozen",
                f"{LITE} - {LITE}@scratch: pretraining",
                f"{LITE} - {LITE}@frozen: training the encoder, after a third",
                f"deeplabv3plus:efficientnet_lite0 - {LITE}: decoder",
            ],
        ),
        (
            ("unet", LITE, f"{LITE}@scratch"),
            "none",
            [f"{LITE}@scratch - unet: encoder", f"{LITE} - {LITE}@scratch: pretraining"],
        ),
        (("lavit", "vit_gat", "unet"), "imagenet", []),
        ((LITE, "fpn:efficientnet_lite0@frozen"), "none", []),  # two things
        (("unet", "segformer_mit_b3"), "none", []),
    ],
)
def test_architectures_that_differ_in_one_thing_are_contrasted(names, weights, expected):
    assert sorted(pairs(*names, weights=weights)) == sorted(expected)


def test_every_two_adaptations_are_contrasted_the_one_that_does_more_first():
    unknown = [arm_facts(name, 5, decoder="") for name in ("unet", "unet_resnet34")]
    assert planned_pairs(unknown) == []  # logs do not say what they are
    found = pairs(*(f"{LITE}@{adaptation}" for adaptation in reversed(ADAPTATIONS)))
    ranks = [
        tuple(ADAPTATIONS.index(its.partition("@")[2]) for its in pair.split(": ")[0].split(" - ")) for pair in found
    ]
    assert sorted(ranks) == [(1, 0), (2, 0), (2, 1), (3, 0), (3, 1), (3, 2)]
    assert len({pair.split(": ")[1] for pair in found}) == 6
