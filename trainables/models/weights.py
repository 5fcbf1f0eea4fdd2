"""Pretrained encoder weights: where they come from, fetched or refused before any trial starts."""

import functools
import importlib.util
import os
import platform
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import huggingface_hub
from huggingface_hub import constants as hub_constants

from trainables.common.errors import UserError
from trainables.common.network import check_url
from trainables.common.whole_files import digest
from trainables.models.weight_files import HUB, PACKAGED, PUBLISHED, TORCHVISION, HubFile, PackagedFile, TorchvisionFile

KEYWORDS = ("none", "imagenet", "coco")
"""Choices of `--weights` that are no paths; `coco` is for the encoders that `TORCHVISION` has it for."""

FILENAME = "model.safetensors"
"""Of weights on the Hugging Face hub."""


def encoder_of(choice: str) -> str | None:
    """The encoder that a choice of the form `ENCODER=WEIGHTS` names; None for a choice that is for all encoders."""
    name, equals, _ = choice.partition("=")
    return name if equals and re.fullmatch(r"[A-Za-z][\w.-]*", name) else None  # else a path with an equals sign in it


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


def fetch_weights(weights: str, encoder: str, expected: str | None = None) -> Path | None:
    """The file that `--weights` stands for: None for `none`, a published file for a keyword, else the path itself.

    A study's trials all begin from the file that its driver found, known by its digest. So a machine whose cache has
    several revisions of it takes that one, and a machine that has another file refuses.

    Args:
        weights: `none`, `imagenet`, `coco` or the path of a state dict (`.safetensors`, or `.pt`/`.pth` of tensors
            only).
        encoder: Name of a segmentation-models-pytorch encoder, e.g. `resnet34`, or of one in `PUBLISHED`, `HUB` or
            `TORCHVISION`.
        expected: SHA-256 that the file must have; None where any will do.

    Raises:
        UserError: There is no such file, it is not in the cache and cannot be fetched, it is not the published or the
            expected one, or the keyword is not for this encoder.
    """
    if weights == "none":
        return None
    path = _find(weights, encoder, expected)
    if expected is not None and (sha256 := known_digest(path)) != expected:
        raise UserError(
            f"--weights {weights} is {path} of SHA-256 {sha256[:12]}… on {platform.node()}, but the trial is to begin "
            f"from {encoder} of {expected[:12]}…: put that file there, or in a place that all machines share and pass "
            f"--weights {encoder}=PATH"
        )
    return path


def known_digest(path: Path) -> str:
    """SHA-256 of a file's bytes; read once per process, unless the file changes.

    Raises:
        OSError: It cannot be read.
    """
    status = path.stat()
    return _digest_of(path.resolve(), status.st_size, status.st_mtime_ns)


@functools.lru_cache(maxsize=64)
def _digest_of(path: Path, size: int, changed_at: int) -> str:
    return digest(path)


def _find(weights: str, encoder: str, expected: str | None) -> Path:
    """The file that `fetch_weights` returns, before its digest is compared with the expected one."""
    published = PUBLISHED.get(encoder)
    torchvision: Mapping[str, TorchvisionFile] = TORCHVISION.get(encoder, {})
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
        if published is not None and (sha256 := known_digest(path)) != published.sha256:
            raise UserError(
                f"--weights {weights} has SHA-256 {sha256[:12]}…, but {published.name} has {published.sha256[:12]}…: "
                f"fetch {published.url} again"
            )
        return path
    if weights in torchvision:
        return _from_torchvision(torchvision[weights], weights, encoder)
    if encoder in PACKAGED and (packaged := _packaged(PACKAGED[encoder])) is not None:
        return packaged
    file = _hub_file(encoder)
    return _of_digest(file.repository, expected) or _from_hub(file, encoder)


def _packaged(file: PackagedFile) -> Path | None:
    """The file of a package; None where the package is not installed."""
    module = importlib.util.find_spec(file.module)
    if module is None or module.origin is None:
        return None
    path = Path(module.origin).parent / file.path
    if not path.is_file() or (sha256 := known_digest(path)) != file.sha256:
        found = f"has SHA-256 {sha256[:12]}…" if path.is_file() else "is missing"
        raise UserError(f"{path} {found}, but must have {file.sha256[:12]}…: install {file.module} again")
    return path


def _hub_file(encoder: str) -> HubFile:
    """Where an encoder's ImageNet weights lie on the Hugging Face hub."""
    if encoder in HUB:
        return HUB[encoder]
    from trainables.models.composed.encoders import find_encoder  # here: it imports this module

    hub = find_encoder(encoder).hub
    if hub is None:
        raise UserError(
            f"--weights imagenet has nothing for {encoder}: pass a file as --weights {encoder}=PATH, or train it from "
            "random weights with @scratch behind its name"
        )
    return hub


def _of_digest(repository: str, expected: str | None) -> Path | None:
    """The file of that digest among all revisions in the cache of the Hugging Face hub, if there is one.

    Timm names no revision, so that the newest one is meant, which may be another one on the next machine.
    """
    if expected is None:
        return None
    name = hub_constants.REPO_ID_SEPARATOR.join(["models", *repository.split("/")])
    cached = sorted(Path(hub_constants.HF_HUB_CACHE, name, "snapshots").glob(f"*/{FILENAME}"))
    return next((path for path in cached if known_digest(path) == expected), None)


def _from_hub(file: HubFile, encoder: str) -> Path:
    """The file in the cache of the Hugging Face hub, fetched where it is not there."""
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError  # with its client of the network

    repository, revision = file.repository, file.revision
    try:
        return Path(huggingface_hub.hf_hub_download(repository, FILENAME, revision=revision, local_files_only=True))
    except LocalEntryNotFoundError:
        pass
    try:
        check_url(hub_constants.ENDPOINT)
        return Path(huggingface_hub.hf_hub_download(repository, FILENAME, revision=revision))
    except (OSError, LocalEntryNotFoundError, HfHubHTTPError) as error:
        command = f"hf download {repository} {FILENAME}{f' --revision {revision}' if revision else ''}"
        raise UserError(
            f"--weights imagenet needs {repository} of the Hugging Face hub, which is not in the cache and cannot be "
            f"fetched: run `{command}` where there is a network and pass the file as --weights {encoder}=PATH, or use "
            "--weights none or @scratch behind the architecture's name"
        ) from error


def _from_torchvision(file: TorchvisionFile, weights: str, encoder: str) -> Path:
    """The file of torchvision's weights in torch.hub's cache, fetched where it is not there, and verified.

    The name of a file of torchvision's ends in the first digits of its SHA-256. Source: `torch.hub`'s `check_hash`.
    """
    beginning = file.name.rpartition("-")[2].partition(".")[0]
    path = torch_hub_folder() / "checkpoints" / file.name
    if not path.is_file():
        import torch

        url = _torchvision_url(file)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            check_url(url)
            torch.hub.download_url_to_file(url, str(path), hash_prefix=beginning, progress=False)
        except (OSError, RuntimeError) as error:  # the latter where what came is not the file
            raise UserError(
                f"--weights {weights} needs {file.name}, which is not in {path.parent} and cannot be fetched: fetch "
                f"{url} where there is a network and pass the file as --weights {encoder}=PATH, or use --weights none"
            ) from error
    if not (sha256 := known_digest(path)).startswith(beginning):
        raise UserError(
            f"--weights {weights}: {path} has SHA-256 {sha256[:12]}…, but its name says {beginning}…: remove it, and "
            f"fetch {_torchvision_url(file)} again"
        )
    return path


def _torchvision_url(file: TorchvisionFile) -> str:
    from torchvision.models import get_weight

    return str(get_weight(file.entry).url)


def torch_hub_folder() -> Path:
    """Where torch.hub keeps its files. Source: `torch.hub.get_dir`, which takes torch to ask."""
    cache = os.environ.get("XDG_CACHE_HOME", "~/.cache")
    return Path(os.environ.get("TORCH_HOME", str(Path(cache) / "torch"))).expanduser() / "hub"
