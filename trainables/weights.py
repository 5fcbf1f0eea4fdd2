"""Pretrained encoder weights: where they come from, fetched or refused before any trial starts."""

import socket
import urllib.request
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import huggingface_hub
import segmentation_models_pytorch as smp
import timm
import torch
from huggingface_hub import constants as hub_constants
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
from safetensors.torch import load_file
from torch import nn
from torchvision.models import ResNet50_Weights
from torchvision.models.segmentation import DeepLabV3_ResNet50_Weights

from trainables.errors import UserError
from trainables.whole_files import digest

KEYWORDS = ("none", "imagenet", "coco")
"""Choices of `--weights` that are no paths; `coco` is for the encoders that `TORCHVISION` has it for."""

TIMM = ("vit_small_patch16_224",)
"""Encoders whose ImageNet weights are the default file of timm, on the Hugging Face hub."""

TORCHVISION: dict[str, dict[str, Any]] = {
    "deeplabv3_resnet50": {
        # V1 and not the better V2, because it is what torchvision's own segmentation models start from
        "imagenet": ResNet50_Weights.IMAGENET1K_V1,
        "coco": DeepLabV3_ResNet50_Weights.COCO_WITH_VOC_LABELS_V1,
    }
}
"""Encoders whose weights are torchvision's, by keyword: entries of its enums, which know address and file name."""

HUB_TIMEOUT_SECONDS = 3.0


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


def encoder_of(choice: str) -> str | None:
    """The encoder that a choice of the form `ENCODER=WEIGHTS` names; None for a choice that is for all encoders."""
    name, equals, _ = choice.partition("=")
    return name if equals and name.isidentifier() else None  # else a path with an equals sign in it


def weights_for(choices: Sequence[str], encoder: str) -> str:
    """What `--weights` has for an encoder: `ENCODER=WEIGHTS` if that is among the choices, else the one for all.

    Raises:
        UserError: Several choices are for all encoders, or for this one.
    """
    others = [choice for choice in choices if encoder_of(choice) is None]
    if len(others) > 1:
        raise UserError(
            f"--weights has {' and '.join(others)} for every encoder, but one only can be: write the others as "
            "ENCODER=WEIGHTS"
        )
    named = [choice.split("=", 1)[1] for choice in choices if encoder_of(choice) == encoder]
    if len(named) > 1:
        raise UserError(f"--weights has {' and '.join(named)} for {encoder}, but one only can be: name it once")
    return [*named, *others, "none"][0]


def fetch_weights(weights: str, encoder: str) -> Path | None:
    """The file that `--weights` stands for: None for `none`, a published file for a keyword, else the path itself.

    Args:
        weights: `none`, `imagenet`, `coco` or the path of a state dict (`.safetensors`, or `.pt`/`.pth` of tensors
            only).
        encoder: Name of a segmentation-models-pytorch encoder, e.g. `resnet34`, or of one in `PUBLISHED`, `TIMM` or
            `TORCHVISION`.

    Raises:
        UserError: There is no such file, it is not in the cache and cannot be fetched, it is not the published one, or
            the keyword is not for this encoder.
    """
    if weights == "none":
        return None
    published, torchvision = PUBLISHED.get(encoder), TORCHVISION.get(encoder, {})
    if weights == "coco" and weights not in torchvision:
        having = " or ".join(name for name, entries in TORCHVISION.items() if weights in entries)
        raise UserError(
            f"--weights coco is for {having} only, but {encoder} would take it too: write {having}=coco, and imagenet, "
            "none or a path for the others"
        )
    if weights == "imagenet" and published is not None:
        raise UserError(
            f"--weights imagenet has nothing for {encoder}: fetch {published.url} and pass it as "
            f"--weights {encoder}=PATH"
        )
    if weights not in KEYWORDS:
        path = Path(weights).expanduser()
        if not path.is_file():
            keywords = "coco, imagenet" if "coco" in torchvision else "imagenet"
            raise UserError(
                f"--weights {weights} is no file, but must be {keywords}, none or a state dict: check the path"
            )
        if published is not None and (sha256 := digest(path)) != published.sha256:
            raise UserError(
                f"--weights {weights} has SHA-256 {sha256[:12]}…, but {published.name} has {published.sha256[:12]}…: "
                f"fetch {published.url} again"
            )
        return path
    if weights in torchvision:
        return _from_torchvision(torchvision[weights].url, weights, encoder)
    return _from_hub(*_hub_file(encoder), encoder)


def _hub_file(encoder: str) -> tuple[str, str | None]:
    """Repository and revision of the Hugging Face hub that hold an encoder's ImageNet weights; None for the newest."""
    if encoder in TIMM:
        return timm.get_pretrained_cfg(encoder).hf_hub_id, None  # timm pins no revision
    settings = smp.encoders.encoders[encoder]["pretrained_settings"]["imagenet"]
    return settings["repo_id"], settings["revision"]


def _from_hub(repository: str, revision: str | None, encoder: str) -> Path:
    """The file in the cache of the Hugging Face hub, fetched where it is not there."""
    filename = "model.safetensors"
    try:
        return Path(huggingface_hub.hf_hub_download(repository, filename, revision=revision, local_files_only=True))
    except LocalEntryNotFoundError:
        pass
    try:
        _probe(hub_constants.ENDPOINT)
        return Path(huggingface_hub.hf_hub_download(repository, filename, revision=revision))
    except (OSError, LocalEntryNotFoundError, HfHubHTTPError) as error:
        command = f"hf download {repository} {filename}{f' --revision {revision}' if revision else ''}"
        raise UserError(
            f"--weights imagenet needs {repository} of the Hugging Face hub, which is not in the cache and cannot be "
            f"fetched: run `{command}` where there is a network and "
            f"pass the file as --weights {encoder}=PATH, or use --weights none"
        ) from error


def _from_torchvision(url: str, weights: str, encoder: str) -> Path:
    """The file in torch.hub's cache, fetched where it is not there, and verified.

    The name of a file of torchvision's ends in the first digits of its SHA-256. Source: `torch.hub`'s `check_hash`.
    """
    name = url.rsplit("/", 1)[1]
    beginning = name.rpartition("-")[2].partition(".")[0]
    path = Path(torch.hub.get_dir()) / "checkpoints" / name
    if not path.is_file():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            _probe(url)
            torch.hub.download_url_to_file(url, str(path), hash_prefix=beginning, progress=False)
        except (OSError, RuntimeError) as error:  # the latter where what came is not the file
            raise UserError(
                f"--weights {weights} needs {name}, which is not in {path.parent} and cannot be fetched: fetch {url} "
                f"where there is a network and pass the file as --weights {encoder}=PATH, or use --weights none"
            ) from error
    if not (sha256 := digest(path)).startswith(beginning):
        raise UserError(
            f"--weights {weights}: {path} has SHA-256 {sha256[:12]}…, but its name says {beginning}…: remove it, and "
            f"fetch {url} again"
        )
    return path


def read_state(path: Path) -> dict[str, torch.Tensor]:
    """The state dict in a file, on the CPU; nothing but tensors is unpickled.

    Raises:
        UserError: The file is no such thing.
    """
    try:
        if path.suffix == ".safetensors":
            return load_file(path, device="cpu")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # torch warns of odd bytes before it refuses them
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # what torch raises depends on the bytes that it meets
        raise UserError(f"{path} is damaged or no state dict of tensors: pass a .safetensors or .pth file") from error
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise UserError(f"{path} holds no plain state dict of tensors: save `encoder.state_dict()` and pass that")
    return state


def take_bands(conv: nn.Conv2d, num_bands: int) -> None:
    """Adapts a pretrained first layer from three bands: they are repeated in turn and scaled by 3/num_bands.

    One band takes their sum.

    Args:
        conv: Of three input channels; its weight (out, 3, kernel, kernel) becomes (out, num_bands, kernel, kernel).
        num_bands: At least 1; 3 changes nothing.

    Source: the rule of segmentation-models-pytorch's encoders, so that all architectures treat further bands alike.
    """
    weight = conv.weight.data
    if num_bands == 1:
        weight = weight.sum(dim=1, keepdim=True)
    elif num_bands != 3:
        weight = weight[:, torch.arange(num_bands) % 3] * (3.0 / num_bands)
    conv.in_channels, conv.weight = num_bands, nn.Parameter(weight)


def _probe(endpoint: str) -> None:
    """Raises OSError at once where the hub cannot be reached; its client would retry for 24 s (seen)."""
    if urllib.request.getproxies():
        return
    url = urlsplit(endpoint)
    port = url.port or (443 if url.scheme == "https" else 80)
    socket.create_connection((url.hostname or "", port), timeout=HUB_TIMEOUT_SECONDS).close()
