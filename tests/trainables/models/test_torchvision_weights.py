"""Weights of torchvision: in torch.hub's cache, fetched from a file here, verified, and refused."""

import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import segmentation_models_pytorch as smp
import timm
import torch
from torchvision.models import get_weight

from tests.trainables.models.test_weights import ABC
from trainables.common.whole_files import digest
from trainables.models import weights as weights_module
from trainables.models.architectures import ARCHITECTURES
from trainables.models.weight_files import HUB, PUBLISHED, TORCHVISION, TorchvisionFile
from trainables.models.weights import fetch_weights, torch_hub_folder


@pytest.fixture
def hub_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The folder of torch.hub's files, which is not there yet."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    return tmp_path / "hub" / "checkpoints"


@dataclass(frozen=True)
class Entry:
    """What stands in torchvision's enums."""

    url: str


@pytest.fixture
def abc(monkeypatch: pytest.MonkeyPatch) -> Iterator[Entry]:
    """Takes a file of the letters `abc`, at a loopback port where nobody listens, for the published COCO weights."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        file = TorchvisionFile("abc", f"deeplab_coco-{ABC[:8]}.pth")
        monkeypatch.setitem(TORCHVISION["deeplabv3_resnet50"], "coco", file)
        entry = Entry(f"http://127.0.0.1:{closed.getsockname()[1]}/models/{file.name}")
        monkeypatch.setattr("torchvision.models.get_weight", {file.entry: entry}.get)
        yield entry


def test_tables_of_weights_say_what_the_libraries_own_tables_say():
    for encoder, file in HUB.items():
        if file.revision is None:
            assert file.repository == timm.get_pretrained_cfg(encoder).hf_hub_id
        else:
            settings = smp.encoders.encoders[encoder]["pretrained_settings"]["imagenet"]
            assert (file.repository, file.revision) == (settings["repo_id"], settings["revision"])
    for files in TORCHVISION.values():
        assert all(file.name == get_weight(file.entry).url.rsplit("/", 1)[1] for file in files.values())
    assert {row.encoder for row in ARCHITECTURES.values()} - {None} == {*HUB, *TORCHVISION, *PUBLISHED}


@pytest.mark.parametrize(("name", "value"), [("", ""), ("TORCH_HOME", "~/torch"), ("XDG_CACHE_HOME", "/cache")])
def test_torch_hub_folder_is_the_one_of_torch(name, value, monkeypatch):
    for other in ("TORCH_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(other, raising=False)
    if name:
        monkeypatch.setenv(name, value)
    assert torch_hub_folder() == Path(torch.hub.get_dir())


def test_fetch_weights_takes_a_cached_file_that_is_what_its_name_says_or_says_which_to_fetch(abc, hub_folder, refusal):
    hub_folder.mkdir(parents=True)
    path = hub_folder / f"deeplab_coco-{ABC[:8]}.pth"
    path.write_bytes(b"abc")
    assert fetch_weights("coco", "deeplabv3_resnet50") == path
    path.write_bytes(b"ab")
    assert refusal(lambda: fetch_weights("coco", "deeplabv3_resnet50")) == (
        f"--weights coco: {path} has SHA-256 {digest(path)[:12]}…, but its name says {ABC[:8]}…: remove it, and fetch "
        f"{abc.url} again"
    )
    path.unlink()
    started = time.monotonic()
    assert refusal(lambda: fetch_weights("coco", "deeplabv3_resnet50")) == (
        f"--weights coco needs deeplab_coco-{ABC[:8]}.pth, which is not in {hub_folder} and cannot be fetched: fetch "
        f"{abc.url} where there is a network and pass the file as --weights deeplabv3_resnet50=PATH, or use "
        "--weights none"
    )
    assert time.monotonic() - started < 5
    assert list(hub_folder.iterdir()) == []


@pytest.mark.parametrize("content", [b"abc", b"ab"])
def test_fetch_weights_downloads_and_verifies_a_file(content, abc, hub_folder, tmp_path, monkeypatch, refusal):
    (tmp_path / "published").write_bytes(content)
    entry = Entry((tmp_path / "published").as_uri())
    monkeypatch.setattr("torchvision.models.get_weight", lambda _: entry)
    monkeypatch.setattr(weights_module, "check_url", lambda _: None)  # no server is asked for a file
    if content == b"abc":
        path = fetch_weights("coco", "deeplabv3_resnet50")
        assert path == hub_folder / f"deeplab_coco-{ABC[:8]}.pth"
        assert path.read_bytes() == content
    else:
        assert "which is not in" in refusal(lambda: fetch_weights("coco", "deeplabv3_resnet50"))
        assert list(hub_folder.iterdir()) == []


@pytest.mark.parametrize("encoder", [*HUB, *PUBLISHED])
def test_fetch_weights_has_coco_for_one_encoder_only(encoder, refusal):
    message = refusal(lambda: fetch_weights("coco", encoder))
    assert message.startswith(f"--weights coco is for deeplabv3_resnet50 only, but {encoder} would take it too: write ")
