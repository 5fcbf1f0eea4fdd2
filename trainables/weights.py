"""Pretrained encoder weights: where they come from, fetched or refused before any trial starts."""

import hashlib
import socket
import urllib.request
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import huggingface_hub
import segmentation_models_pytorch as smp
import torch
from huggingface_hub import constants as hub_constants
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
from safetensors.torch import load_file

from trainables.errors import UserError

KEYWORDS = ("none", "imagenet")
"""Choices of `--weights` that are no paths."""

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
    """The file that `--weights` stands for: None for `none`, the hub's file for `imagenet`, else the path itself.

    Args:
        weights: `none`, `imagenet` or the path of a state dict (`.safetensors`, or `.pt`/`.pth` of tensors only).
        encoder: Name of a segmentation-models-pytorch encoder, e.g. `resnet34`, or of one in `PUBLISHED`.

    Raises:
        UserError: There is no such file, it is not in the cache and the hub cannot be reached, or it is not the
            published one.
    """
    if weights == "none":
        return None
    published = PUBLISHED.get(encoder)
    if weights == "imagenet" and published is not None:
        raise UserError(
            f"--weights imagenet has nothing for {encoder}: fetch {published.url} and pass it as "
            f"--weights {encoder}=PATH"
        )
    if weights != "imagenet":
        path = Path(weights).expanduser()
        if not path.is_file():
            raise UserError(
                f"--weights {weights} is no file, but must be imagenet, none or a state dict: check the path"
            )
        if published is not None and (sha256 := digest(path)) != published.sha256:
            raise UserError(
                f"--weights {weights} has SHA-256 {sha256[:12]}…, but {published.name} has {published.sha256[:12]}…: "
                f"fetch {published.url} again"
            )
        return path
    settings = smp.encoders.encoders[encoder]["pretrained_settings"]["imagenet"]
    repository, revision = settings["repo_id"], settings["revision"]
    filename = "model.safetensors"
    try:
        return Path(huggingface_hub.hf_hub_download(repository, filename, revision=revision, local_files_only=True))
    except LocalEntryNotFoundError:
        pass
    try:
        _probe(hub_constants.ENDPOINT)
        return Path(huggingface_hub.hf_hub_download(repository, filename, revision=revision))
    except (OSError, LocalEntryNotFoundError, HfHubHTTPError) as error:
        raise UserError(
            f"--weights imagenet needs {repository} of the Hugging Face hub, which is not in the cache and cannot be "
            f"fetched: run `hf download {repository} {filename} --revision {revision}` where there is a network and "
            f"pass the file as --weights {encoder}=PATH, or use --weights none"
        ) from error


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


def digest(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _probe(endpoint: str) -> None:
    """Raises OSError at once where the hub cannot be reached; its client would retry for 24 s (seen)."""
    if urllib.request.getproxies():
        return
    url = urlsplit(endpoint)
    port = url.port or (443 if url.scheme == "https" else 80)
    socket.create_connection((url.hostname or "", port), timeout=HUB_TIMEOUT_SECONDS).close()
