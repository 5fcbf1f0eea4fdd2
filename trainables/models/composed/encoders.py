"""Encoders by name: those of segmentation-models-pytorch's table, and all of timm's that give features.

What a pretrained encoder expects of pixels, where its weights lie and under which licence comes from these libraries'
own configurations.
"""

import difflib
import functools
from collections.abc import Iterable
from dataclasses import dataclass

from trainables.models.architecture import HALVES, IMAGENET, Normalisation
from trainables.models.weight_files import HubFile


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoder:
    """An encoder that decoders can be put over.

    Attributes:
        name: As people write it.
        timm: Timm's name of it; empty where it is one of segmentation-models-pytorch's table.
        normalisation: What its ImageNet weights expect of photographs in 0..1; None where it has none.
        hub: Where these weights lie; None where there are none.
        licence: Of these weights, as their publisher names it; empty where he names none.
        only_px: The one side (px) that it takes; None where any will do that its stride divides.
    """

    name: str
    timm: str = ""
    normalisation: Normalisation | None = None
    hub: HubFile | None = None
    licence: str = ""
    only_px: int | None = None

    @property
    def smp(self) -> str:
        """Its name for segmentation-models-pytorch."""
        return f"tu-{self.timm}" if self.timm else self.name


WELL_KNOWN = {
    "efficientnet_lite0": Encoder(
        name="efficientnet_lite0",
        timm="tf_efficientnet_lite0",
        normalisation=HALVES,
        hub=HubFile("timm/tf_efficientnet_lite0.in1k", None),
        licence="apache-2.0",
    )
}
"""Encoders of profiles, so that no command imports timm to name them. Source: timm's configurations, which a test
compares; `tf_efficientnet_lite0` is the network that Google's weights of EfficientNet-Lite0 were trained in."""


OTHERS = {
    "dpn": Normalisation(mean=(124 / 255, 117 / 255, 104 / 255), std=(1 / (0.0167 * 255),) * 3),
    "inception": HALVES,
    "xception": HALVES,
}
"""Families of segmentation-models-pytorch's table whose weights expect other pixels than most, by how a name begins.

Source: Cadene's pretrained-models.pytorch, from which these weights are. The table itself names the hub's files only.
"""


@functools.cache
def find_encoder(name: str) -> Encoder:
    """The encoder of that name.

    Raises:
        ValueError: Neither library has one. It says what a name must be, with the nearest ones.
    """
    if name in WELL_KNOWN:
        return WELL_KNOWN[name]
    import segmentation_models_pytorch as smp  # here, and timm: they take seconds
    import timm

    table = {key: row for key, row in smp.encoders.encoders.items() if not key.startswith("timm-")}
    if name in table:
        settings = table[name]["pretrained_settings"].get("imagenet")
        if settings is None:
            return Encoder(name=name)
        return Encoder(
            name=name,
            normalisation=next((its for family, its in OTHERS.items() if name.startswith(family)), IMAGENET),
            hub=HubFile(settings["repo_id"], settings["revision"]),
        )
    if timm.is_model(name.partition(".")[0]) and not name.endswith("."):
        return _of_timm(name)
    rule = "must have an encoder of timm's or of segmentation-models-pytorch's"
    raise ValueError(f"{rule}{nearest(name, [*WELL_KNOWN, *table, *timm.list_models()])}")


def _of_timm(name: str) -> Encoder:
    """One of timm's, by the configuration of the weights that its name says, or of timm's first choice of them."""
    import timm

    model, _, tag = name.partition(".")
    tags = [weights.partition(".")[2] for weights in timm.list_pretrained(f"{model}.*")]
    if tag and tag not in tags:
        raise ValueError(f"must name weights that timm has of {model}: {', '.join(tags) or 'none'}")
    config = timm.get_pretrained_cfg(name)
    if config is None:
        return Encoder(name=name, timm=name)
    return Encoder(
        name=name,
        timm=name,
        normalisation=Normalisation(mean=tuple(config.mean), std=tuple(config.std)),
        hub=HubFile(config.hf_hub_id, None) if config.hf_hub_id else None,
        licence=config.license or "",
        only_px=config.input_size[1] if config.fixed_input_size else None,
    )


def nearest(name: str, known: Iterable[str]) -> str:
    """`: did you mean resnet34 or resnet50?`; empty where no known name is near."""
    near = difflib.get_close_matches(name, list(dict.fromkeys(known)), n=3)
    return f": did you mean {' or '.join(near)}?" if near else ""
