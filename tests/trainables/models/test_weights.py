import http.server
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import segmentation_models_pytorch as smp
import timm
import torch
from huggingface_hub.errors import LocalEntryNotFoundError
from safetensors.torch import save_file
from torchvision.models import get_weight

from trainables.common.whole_files import digest
from trainables.models import weights as weights_module
from trainables.models.architectures import ARCHITECTURES
from trainables.models.spec import ModelSpec
from trainables.models.weights import (
    HUB,
    PUBLISHED,
    TORCHVISION,
    PublishedFile,
    TorchvisionFile,
    encoder_of,
    fetch_weights,
    known_digest,
    torch_hub_folder,
    weights_for,
)
from trainables.training import TrainingState
from trainables.trial import fit

ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
"""SHA-256 of `abc`: FIPS 180-2, example B.1."""

PRETRAINED = [name for name, row in ARCHITECTURES.items() if row.encoder == "resnet34"]


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


# Into the encoder


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("name", PRETRAINED)
def test_weights_of_a_file_land_in_the_encoder(name, suffix, resnet34_state, tmp_path):
    path = tmp_path / f"resnet34{suffix}"
    if suffix == ".safetensors":
        save_file(resnet34_state, path)
    else:
        torch.save(resnet34_state, path)
    torch.manual_seed(5)
    model = ARCHITECTURES[name].build(ModelSpec(num_bands=3, num_outputs=1, weights=str(path)))
    loaded = model.encoder.state_dict()
    assert set(loaded) == set(resnet34_state)
    assert all(torch.equal(loaded[key], value) for key, value in resnet34_state.items())


@pytest.mark.parametrize("name", PRETRAINED)
def test_weights_of_a_file_leave_the_decoder_random(name, resnet34_file):
    def decoder(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        model = ARCHITECTURES[name].build(ModelSpec(num_bands=3, num_outputs=1, weights=str(resnet34_file)))
        return torch.cat([parameter.flatten() for parameter in model.decoder.parameters()])

    assert torch.equal(decoder(0), decoder(0))
    assert not torch.equal(decoder(0), decoder(1))


def test_weights_of_three_bands_are_adapted_to_four(resnet34_file, resnet34_state):
    model = ARCHITECTURES["unet_resnet34"].build(ModelSpec(num_bands=4, num_outputs=1, weights=str(resnet34_file)))
    first, three = model.encoder.conv1.weight, resnet34_state["conv1.weight"]
    # smp repeats the three bands and rescales by 3/4, so that activations keep their size
    assert first.shape == (64, 4, 7, 7)
    assert torch.allclose(first[:, :3], three * 0.75)
    assert torch.allclose(first[:, 3], three[:, 0] * 0.75)
    assert torch.equal(model.encoder.state_dict()["layer4.2.conv2.weight"], resnet34_state["layer4.2.conv2.weight"])


@pytest.mark.parametrize("name", PRETRAINED)
def test_weights_of_another_encoder_are_refused(name, tmp_path, refusal):
    path = tmp_path / "other.pth"
    torch.save({"conv1.weight": torch.zeros(3)}, path)
    message = refusal(lambda: ARCHITECTURES[name].build(ModelSpec(num_bands=3, num_outputs=1, weights=str(path))))
    assert message == f"{path} does not fit a resnet34 encoder: pass a state dict of resnet34"


def test_unet_takes_no_weights():
    model = ARCHITECTURES["unet"].build(ModelSpec(num_bands=3, num_outputs=1, weights="nowhere.pth", small=True))
    assert model.head.out_channels == 1


# Which are meant


@pytest.mark.parametrize(
    ("choice", "encoder"),
    [
        ("none", None),
        ("imagenet", None),
        ("runs/resnet34.pth", None),
        ("sam_vit_b=sam.pth", "sam_vit_b"),
        ("sam_vit_b=/data/runs/a=b/sam.pth", "sam_vit_b"),
        ("sam_vit_b=none", "sam_vit_b"),
        ("resnet34=imagenet", "resnet34"),
        ("resnet=", "resnet"),
        ("runs/a=b/x.pth", None),
        ("./lr=3.pth", None),
        ("/data/lr=3/x.pth", None),
        ("=x.pth", None),
    ],
)
def test_encoder_of_a_choice_is_a_name_before_an_equals_sign(choice, encoder):
    assert encoder_of(choice) == encoder


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
        ([], "none", "none"),
    ],
)
def test_weights_for_an_encoder_are_its_own_choice_or_the_one_for_all(choices, resnet34, sam_vit_b):
    assert weights_for(choices, "resnet34") == resnet34
    assert weights_for(choices, "sam_vit_b") == sam_vit_b


@pytest.mark.parametrize("encoder", ["resnet34", "sam_vit_b"])  # even of one that has its own
def test_weights_for_refuses_two_choices_for_all(encoder, refusal):
    choices = ["imagenet", "sam_vit_b=sam.pth", "runs/x.pth"]
    assert refusal(lambda: weights_for(choices, encoder)) == (
        "--weights has imagenet and runs/x.pth for every encoder, but one only can be: write the others as "
        "ENCODER=WEIGHTS"
    )


# Where they come from


def test_fetch_weights_of_none_is_no_file():
    assert fetch_weights("none", "resnet34") is None


def test_fetch_weights_of_a_path_is_that_file(tmp_path):
    path = tmp_path / "w.pth"
    path.write_bytes(b"x")
    assert fetch_weights(str(path), "resnet34") == path


def test_fetch_weights_refuses_what_is_no_file(tmp_path, refusal):
    for weights in (str(tmp_path / "nowhere.pth"), str(tmp_path)):
        message = refusal(lambda w=weights: fetch_weights(w, "resnet34"))
        assert message == f"--weights {weights} is no file, but must be imagenet, none or a state dict: check the path"


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


def test_fetch_weights_without_a_network_is_refused_at_once(no_hub, refusal):
    started = time.monotonic()
    message = refusal(lambda: fetch_weights("imagenet", "resnet34"))
    assert time.monotonic() - started < 6  # its client alone would try for 24 s
    assert message.startswith("--weights imagenet needs smp-hub/resnet34.imagenet of the Hugging Face hub")
    assert "hf download smp-hub/resnet34.imagenet model.safetensors --revision " in message
    assert "--weights resnet34=PATH" in message


def test_fetch_weights_takes_a_cached_file_without_a_network(no_hub, tmp_path):
    settings = smp.encoders.encoders["resnet34"]["pretrained_settings"]["imagenet"]
    folder = (
        tmp_path / "cache" / f"models--{settings['repo_id'].replace('/', '--')}" / "snapshots" / settings["revision"]
    )
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(b"cached")
    path = fetch_weights("imagenet", "resnet34")
    assert path is not None
    assert path.read_bytes() == b"cached"


def test_fetch_weights_takes_timms_newest_file_from_the_hub(monkeypatch, tmp_path):
    asked: list[tuple[str, str, str | None]] = []

    def cached(repo: str, filename: str, *, revision: str | None, local_files_only: bool = False) -> str:
        asked.append((repo, filename, revision))
        return str(tmp_path / filename)

    monkeypatch.setattr(weights_module.huggingface_hub, "hf_hub_download", cached)
    assert fetch_weights("imagenet", "vit_small_patch16_224") == tmp_path / "model.safetensors"
    assert asked == [("timm/vit_small_patch16_224.augreg_in21k_ft_in1k", "model.safetensors", None)]


def test_fetch_weights_says_which_file_of_timms_to_fetch(no_hub, refusal):
    assert refusal(lambda: fetch_weights("imagenet", "vit_small_patch16_224")) == (
        "--weights imagenet needs timm/vit_small_patch16_224.augreg_in21k_ft_in1k of the Hugging Face hub, which is "
        "not in the cache and cannot be fetched: run `hf download timm/vit_small_patch16_224.augreg_in21k_ft_in1k "
        "model.safetensors` where there is a network and pass the file as --weights vit_small_patch16_224=PATH, or use "
        "--weights none"
    )


def test_fetch_weights_downloads_once_the_hub_answers(no_hub, monkeypatch, tmp_path):
    asked: list[bool] = []

    def download(repo: str, filename: str, *, revision: str, local_files_only: bool = False) -> str:
        asked.append(local_files_only)
        if local_files_only:
            raise LocalEntryNotFoundError("not in the cache")
        return str(tmp_path / filename)

    monkeypatch.setattr(weights_module.huggingface_hub, "hf_hub_download", download)
    with socket.create_server(("127.0.0.1", 0)) as server:
        endpoint = f"http://127.0.0.1:{server.getsockname()[1]}"
        monkeypatch.setattr(weights_module.hub_constants, "ENDPOINT", endpoint)
        assert fetch_weights("imagenet", "resnet34") == tmp_path / "model.safetensors"
    assert asked == [True, False]


# Torchvision's


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


def test_tables_of_weights_say_what_the_libraries_own_tables_say(monkeypatch):
    for encoder, file in HUB.items():
        if file.revision is None:
            assert file.repository == timm.get_pretrained_cfg(encoder).hf_hub_id
        else:
            settings = smp.encoders.encoders[encoder]["pretrained_settings"]["imagenet"]
            assert (file.repository, file.revision) == (settings["repo_id"], settings["revision"])
    for files in TORCHVISION.values():
        assert all(file.name == get_weight(file.entry).url.rsplit("/", 1)[1] for file in files.values())
    assert {row.encoder for row in ARCHITECTURES.values()} - {None} == {*HUB, *TORCHVISION, *PUBLISHED}


@pytest.mark.parametrize("variables", [{}, {"TORCH_HOME": "~/torch"}, {"XDG_CACHE_HOME": "/cache"}])
def test_torch_hub_folder_is_the_one_of_torch(variables, monkeypatch):
    for name in ("TORCH_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert torch_hub_folder() == Path(torch.hub.get_dir())


def test_fetch_weights_takes_torchvisions_cached_file(abc, hub_folder):
    hub_folder.mkdir(parents=True)
    path = hub_folder / f"deeplab_coco-{ABC[:8]}.pth"
    path.write_bytes(b"abc")
    assert fetch_weights("coco", "deeplabv3_resnet50") == path


def test_fetch_weights_refuses_a_cached_file_that_is_not_what_its_name_says(abc, hub_folder, refusal):
    hub_folder.mkdir(parents=True)
    path = hub_folder / f"deeplab_coco-{ABC[:8]}.pth"
    path.write_bytes(b"ab")
    assert refusal(lambda: fetch_weights("coco", "deeplabv3_resnet50")) == (
        f"--weights coco: {path} has SHA-256 {digest(path)[:12]}…, but its name says {ABC[:8]}…: remove it, and fetch "
        f"{abc.url} again"
    )


def test_fetch_weights_says_which_file_of_torchvisions_to_fetch(abc, hub_folder, refusal):
    started = time.monotonic()
    assert refusal(lambda: fetch_weights("coco", "deeplabv3_resnet50")) == (
        f"--weights coco needs deeplab_coco-{ABC[:8]}.pth, which is not in {hub_folder} and cannot be fetched: fetch "
        f"{abc.url} where there is a network and pass the file as --weights deeplabv3_resnet50=PATH, or use "
        "--weights none"
    )
    assert time.monotonic() - started < 5
    assert list(hub_folder.iterdir()) == []


@pytest.mark.parametrize("content", [b"abc", b"ab"])
def test_fetch_weights_downloads_and_verifies_torchvisions_file(content, abc, hub_folder, monkeypatch, refusal):
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        url = f"http://127.0.0.1:{server.server_port}/models/deeplab_coco-{ABC[:8]}.pth"
        monkeypatch.setattr("torchvision.models.get_weight", lambda _: Entry(url))
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            if content == b"abc":
                path = fetch_weights("coco", "deeplabv3_resnet50")
                assert path == hub_folder / f"deeplab_coco-{ABC[:8]}.pth"
                assert path.read_bytes() == content
            else:
                message = refusal(lambda: fetch_weights("coco", "deeplabv3_resnet50"))
                assert "which is not in" in message
                assert list(hub_folder.iterdir()) == []
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize("encoder", sorted({row.encoder for row in ARCHITECTURES.values() if row.encoder}))
def test_fetch_weights_has_coco_for_one_encoder_only(encoder, hub_folder, refusal, monkeypatch):
    if encoder == "deeplabv3_resnet50":
        monkeypatch.setattr(weights_module, "_from_torchvision", lambda *_: Path("found"))
        assert fetch_weights("coco", encoder) == Path("found")
        return
    assert refusal(lambda: fetch_weights("coco", encoder)) == (
        f"--weights coco is for deeplabv3_resnet50 only, but {encoder} would take it too: write "
        "deeplabv3_resnet50=coco, and imagenet, none or a path for the others"
    )


def test_fetch_weights_names_coco_where_there_is_such_a_thing(refusal):
    assert refusal(lambda: fetch_weights("nowhere.pth", "deeplabv3_resnet50")) == (
        "--weights nowhere.pth is no file, but must be coco, imagenet, none or a state dict: check the path"
    )


# The very file that a study began from


def test_fetch_weights_refuses_a_file_of_another_digest_and_names_machine_and_file(tmp_path, monkeypatch, refusal):
    monkeypatch.setattr(weights_module.platform, "node", lambda: "node-7")
    path = tmp_path / "w.pth"
    path.write_bytes(b"abc")
    assert fetch_weights(str(path), "resnet34", ABC) == path
    path.write_bytes(b"abcd")
    assert refusal(lambda: fetch_weights(str(path), "resnet34", ABC)) == (
        f"--weights {path} is {path} of SHA-256 88d4266fd4e6… on node-7, but the trial is to begin from resnet34 of "
        "ba7816bf8f01…: put that file there, or in a place that all machines share and pass --weights resnet34=PATH"
    )
    assert fetch_weights("none", "resnet34", ABC) is None


WITH_WEIGHTS = sorted(name for name, row in ARCHITECTURES.items() if row.encoder is not None)


@pytest.mark.parametrize("name", WITH_WEIGHTS)
def test_every_architecture_refuses_weights_of_another_digest(name, tmp_path, monkeypatch, refusal):
    monkeypatch.delitem(PUBLISHED, "sam_vit_b")
    row, path = ARCHITECTURES[name], tmp_path / "w.pth"
    path.write_bytes(b"other weights")
    settings = {key: setting.default for key, setting in row.settings.items()}
    spec = ModelSpec(num_bands=3, num_outputs=1, weights=str(path), weights_digest=ABC, settings=settings)
    assert f"from {row.encoder} of ba7816bf8f01…" in refusal(lambda: row.build(spec))


def test_trial_refuses_weights_of_another_digest_before_it_trains(make_config, tiles, resnet34_file, refusal):
    config = make_config(architecture="unet_resnet34", weights=str(resnet34_file), draws_per_epoch=2, epochs=1)
    right = config.model_copy(update={"weights_digest": digest(resnet34_file)})
    TrainingState(right, tiles, torch.device("cpu"))
    wrong = config.model_copy(update={"weights_digest": ABC})
    message = refusal(lambda: next(fit(wrong, tiles)))
    assert f"--weights {resnet34_file} is {resnet34_file} of SHA-256 " in message


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
