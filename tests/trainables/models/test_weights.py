import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub.errors import LocalEntryNotFoundError

from trainables.common.whole_files import digest
from trainables.models import weights as weights_module
from trainables.models.weight_files import HUB, PUBLISHED, PublishedFile
from trainables.models.weights import fetch_weights, known_digest, weights_for
from trainables.trial import fit

ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
"""SHA-256 of `abc`: FIPS 180-2, example B.1."""


@pytest.fixture
def no_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """An empty cache, and a hub at a loopback port where nobody listens."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with socket.socket() as closed:  # bound and not listening, so that nobody else takes the port
        closed.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{closed.getsockname()[1]}"
        monkeypatch.setattr(weights_module.hub_constants, "ENDPOINT", endpoint)
        monkeypatch.setattr(weights_module.hub_constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        yield


# Which are meant


@pytest.mark.parametrize(
    ("choices", "resnet34", "sam_vit_b"),
    [
        (["none"], "none", "none"),
        (["imagenet"], "imagenet", "imagenet"),
        (["sam_vit_b=sam.pth"], "none", "sam.pth"),
        (["imagenet", "sam_vit_b=sam.pth"], "imagenet", "sam.pth"),
        (["sam_vit_b=sam.pth", "imagenet"], "imagenet", "sam.pth"),
        (["runs/a=b/x.pth"], "runs/a=b/x.pth", "runs/a=b/x.pth"),
        (["runs/a=b/x.pth", "sam_vit_b=runs/a=b/y.pth"], "runs/a=b/x.pth", "runs/a=b/y.pth"),
        (["imagenet", "resnet34=none", "sam_vit_b=none"], "none", "none"),
        (["none", "sam_vit_b=/data/runs/a=b/sam.pth"], "none", "/data/runs/a=b/sam.pth"),
        (["./lr=3.pth", "sam_vit_b="], "./lr=3.pth", ""),
        (["/data/lr=3/x.pth", "resnet=x.pth"], "/data/lr=3/x.pth", "/data/lr=3/x.pth"),
        (["=x.pth"], "=x.pth", "=x.pth"),
        ([], "none", "none"),
    ],
)
def test_weights_for_an_encoder_are_its_own_choice_or_the_one_for_all(choices, resnet34, sam_vit_b):
    assert weights_for(choices, "resnet34") == resnet34
    assert weights_for(choices, "sam_vit_b") == sam_vit_b


def test_weights_for_refuses_two_choices_for_all(refusal):
    choices = ["imagenet", "sam_vit_b=sam.pth", "runs/x.pth"]
    for encoder in ("resnet34", "sam_vit_b"):  # even of one that has its own
        message = refusal(lambda its=encoder: weights_for(choices, its))
        assert message.startswith("--weights has imagenet and runs/x.pth for every encoder, but one only can be: ")


# Where they come from


@pytest.mark.parametrize(("encoder", "keywords"), [("resnet34", "imagenet"), ("deeplabv3_resnet50", "coco, imagenet")])
def test_fetch_weights_refuses_what_is_no_file(tmp_path, encoder, keywords, refusal):
    for weights in (str(tmp_path / "nowhere.pth"), str(tmp_path)):
        message = refusal(lambda w=weights: fetch_weights(w, encoder))
        assert message.startswith(f"--weights {weights} is no file, but must be {keywords}, none or a state dict: ")


def test_fetch_weights_takes_a_published_file_by_its_bytes(tmp_path, monkeypatch, refusal):
    published = PublishedFile(name="w.pth", url="https://example.org/w.pth", sha256=ABC)
    monkeypatch.setitem(PUBLISHED, "resnet34", published)
    path = tmp_path / "renamed.pth"
    path.write_bytes(b"abc")
    assert fetch_weights(str(path), "resnet34") == path
    path.write_bytes(b"abcd")
    # SHA-256 of abcd as sha256sum gives it
    assert refusal(lambda: fetch_weights(str(path), "resnet34")) == (
        f"--weights {path} has SHA-256 88d4266fd4e6…, but w.pth has ba7816bf8f01…: "
        "fetch https://example.org/w.pth again"
    )
    assert refusal(lambda: fetch_weights("imagenet", "resnet34")) == (
        "--weights imagenet has nothing for resnet34: fetch https://example.org/w.pth and pass it as "
        "--weights resnet34=PATH"
    )
    assert fetch_weights("none", "resnet34") is None


@pytest.mark.parametrize(
    ("encoder", "repository", "revision"),
    [
        ("resnet34", "smp-hub/resnet34.imagenet", f" --revision {HUB['resnet34'].revision}"),
        ("vit_small_patch16_224", "timm/vit_small_patch16_224.augreg_in21k_ft_in1k", ""),
    ],
)
def test_fetch_weights_without_a_network_is_refused_at_once(no_hub, encoder, repository, revision, refusal):
    started = time.monotonic()
    assert refusal(lambda: fetch_weights("imagenet", encoder)) == (
        f"--weights imagenet needs {repository} of the Hugging Face hub, which is not in the cache and cannot be "
        f"fetched: run `hf download {repository} model.safetensors{revision}` where there is a network and pass the "
        f"file as --weights {encoder}=PATH, or use --weights none or @scratch "
        "behind the architecture's name"
    )
    assert time.monotonic() - started < 6  # its client alone would try for 24 s


@pytest.mark.parametrize("encoder", HUB)
def test_fetch_weights_takes_the_file_of_the_hub_and_downloads_it_where_it_is_not_there(encoder, monkeypatch, tmp_path):
    asked: list[tuple[str, str, str | None, bool]] = []

    def download(repo: str, filename: str, *, revision: str | None, local_files_only: bool = False) -> str:
        asked.append((repo, filename, revision, local_files_only))
        if local_files_only:
            raise LocalEntryNotFoundError("not in the cache")
        return str(tmp_path / filename)

    monkeypatch.setattr(weights_module.huggingface_hub, "hf_hub_download", download)
    monkeypatch.setattr(weights_module, "check_url", lambda _: None)
    assert fetch_weights("imagenet", encoder) == tmp_path / "model.safetensors"
    file = (HUB[encoder].repository, "model.safetensors", HUB[encoder].revision)
    assert asked == [(*file, True), (*file, False)]


# The very file that a study began from


def test_file_of_another_digest_is_refused_with_its_machine_and_by_trials(
    make_config, tiles, tmp_path, monkeypatch, refusal
):
    monkeypatch.setattr(weights_module.platform, "node", lambda: "node-7")
    path = tmp_path / "w.pth"
    path.write_bytes(b"abc")
    assert fetch_weights(str(path), "resnet34", ABC) == path
    assert fetch_weights("none", "resnet34", ABC) is None
    path.write_bytes(b"abcd")
    assert refusal(lambda: fetch_weights(str(path), "resnet34", ABC)) == (
        f"--weights {path} is {path} of SHA-256 88d4266fd4e6… on node-7, but the trial is to begin from resnet34 of "
        "ba7816bf8f01…: put that file there, or in a place that all machines share and pass --weights resnet34=PATH"
    )
    config = make_config(architecture="unet_resnet34", weights=str(path), weights_digest=ABC)
    message = refusal(lambda: next(fit(config, tiles)))  # before it trains
    assert f"--weights {path} is {path} of SHA-256 " in message


def test_known_digest_reads_a_file_once_unless_it_changes(tmp_path, monkeypatch):
    read: list[Path] = []
    monkeypatch.setattr(weights_module, "digest", lambda path: read.append(path) or digest(path))
    path, link = tmp_path / "w.pth", tmp_path / "link.pth"
    path.write_bytes(b"abc")
    link.symlink_to(path)
    assert [known_digest(its) for its in (path, path, link)] == [ABC] * 3
    assert read == [path]
    path.write_bytes(b"abd")
    assert known_digest(path) == digest(path) != ABC
    assert len(read) == 2


def cache_timm(cache: Path, revisions: dict[str, bytes], newest: str) -> None:
    """A cache of the hub with some revisions of the ViT, as its client leaves it."""
    folder = cache / "models--timm--vit_small_patch16_224.augreg_in21k_ft_in1k"
    for revision, content in revisions.items():
        blob = folder / "blobs" / f"of-{revision}"
        snapshot = folder / "snapshots" / revision
        blob.parent.mkdir(parents=True, exist_ok=True)
        snapshot.mkdir(parents=True)
        blob.write_bytes(content)
        (snapshot / "model.safetensors").symlink_to(blob)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text(newest)


def test_fetch_weights_takes_the_revision_that_the_study_began_from(no_hub, tmp_path, refusal):
    old, new = "1" * 40, "2" * 40
    cache_timm(tmp_path / "cache", {old: b"abc", new: b"newer"}, newest=new)
    encoder = "vit_small_patch16_224"
    newest, expected = fetch_weights("imagenet", encoder), fetch_weights("imagenet", encoder, ABC)
    assert newest is not None
    assert newest.read_bytes() == b"newer"
    assert expected is not None
    assert (expected.parent.name, expected.read_bytes()) == (old, b"abc")
    message = refusal(lambda: fetch_weights("imagenet", encoder, "ab" * 32))
    assert message.startswith(f"--weights imagenet is {newest} of SHA-256 {digest(newest)[:12]}… on ")
