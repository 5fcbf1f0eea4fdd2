from pathlib import Path
from typing import Any

import pytest
import torch

from trainables import checkpoints as ckpt
from trainables.checkpoints import build_model, load, load_model, save
from trainables.data.tiles import DatasetInfo
from trainables.models.architectures import ARCHITECTURES

NAMES = list(ARCHITECTURES)
INFO = DatasetInfo(
    classes=("clear", "thick", "thin"),
    bands=("red", "green", "blue", "nir"),
    scale=1e-4,
    ignore_index=9,
    colors_rgb=((0, 0, 0), (1, 2, 3), (4, 5, 6)),
    groups={"a": "here"},
)
MEAN, STD = [0.1, 0.2, 0.3, 0.4], [0.5, 0.6, 0.7, 0.8]


@pytest.mark.parametrize("name", NAMES)
def test_load_model_gives_the_saved_model_back(name, make_config, tmp_path):
    config = make_config(architecture=name, decoder_dropout=0.3)
    torch.manual_seed(0)
    model = build_model(config, INFO, MEAN, STD)
    for module in model.modules():  # batch norm in a state that no fresh model has
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.running_mean)
    content = {
        "config": config.model_dump_json(),
        "info": INFO.model_dump_json(),
        "epoch": 3,
        "metrics": {"val/iou": 0.25},
        "frozen_digest": model.frozen_digest,
        "model": model.state_dict(),
    }
    save(tmp_path / "best.pt", content)
    trained = load_model(tmp_path / "best.pt")
    assert (trained.config, trained.info) == (config, INFO)
    assert (trained.stride, trained.metrics) == (ARCHITECTURES[name].stride, {"val/iou": 0.25})
    assert (trained.model.only_px, trained.model.whole_px) == (None, ARCHITECTURES[name].whole_px)
    assert not trained.model.training
    assert trained.model.mean.flatten().tolist() == pytest.approx(MEAN)
    assert trained.model.std.flatten().tolist() == pytest.approx(STD)
    pixels = torch.rand(1, 4, 64, 64)
    with torch.inference_mode():
        assert torch.equal(trained.model(pixels), model.eval()(pixels))


def test_save_and_load_keep_tensors_and_plain_values(tmp_path):
    path = tmp_path / "deep" / "folder" / "newest.pt"
    save(path, {"tensor": torch.arange(5), "text": "ä", "number": 0.1, "list": [1, None], "dict": {"a": True}})
    content = load(path)
    assert torch.equal(content.pop("tensor"), torch.arange(5))
    assert content == {"text": "ä", "number": 0.1, "list": [1, None], "dict": {"a": True}}
    assert [p.name for p in path.parent.iterdir()] == ["newest.pt"]


def test_save_that_fails_leaves_the_old_checkpoint(tmp_path, monkeypatch, refusal):
    path = tmp_path / "newest.pt"
    save(path, {"epoch": 1})

    def full(content: Any, stream: Any) -> None:
        stream.write(b"half a checkp")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(ckpt.torch, "save", full)
    assert refusal(lambda: save(path, {"epoch": 2})) == (
        f"{path} cannot be written ([Errno 28] No space left on device): make room, or choose another folder"
    )
    assert [file.name for file in tmp_path.iterdir()] == ["newest.pt"]
    monkeypatch.undo()
    assert load(path) == {"epoch": 1}
    save(path, {"epoch": 3})
    assert load(path) == {"epoch": 3}


def test_save_says_what_the_disk_said_where_torch_says_something_else(tmp_path, monkeypatch, refusal):
    # Torch ends in an error of its own about positions; the disk's is behind it
    def save_over_limit(content: Any, stream: Any) -> None:
        try:
            raise OSError(27, "File too large")
        except OSError:
            raise RuntimeError("[enforce fail at inline_container.cc:671] . unexpected pos 768 vs 662")  # noqa: B904

    monkeypatch.setattr(ckpt.torch, "save", save_over_limit)
    path = tmp_path / "newest.pt"
    assert refusal(lambda: save(path, {})) == (
        f"{path} cannot be written ([Errno 27] File too large): make room, or choose another folder"
    )


def test_save_into_what_is_no_folder_asks_for_no_room(tmp_path, refusal):
    (tmp_path / "file").touch()
    path = tmp_path / "file" / "newest.pt"
    message = refusal(lambda: save(path, {}))
    assert message.startswith(f"{path} cannot be written ([Errno ")
    assert message.endswith("): choose another folder")


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("shapes differ"),
        torch.AcceleratorError("CUDA error: an illegal memory access was encountered"),
        torch.OutOfMemoryError("CUDA out of memory."),
    ],
    ids=lambda error: type(error).__name__,
)
def test_save_lets_errors_pass_that_are_not_the_disks(tmp_path, monkeypatch, error):
    def broken(*_: Any) -> None:
        raise error

    monkeypatch.setattr(ckpt.torch, "save", broken)
    with pytest.raises(type(error)) as caught:
        save(tmp_path / "newest.pt", {})
    assert caught.value is error
    assert list(tmp_path.iterdir()) == []


def test_load_refuses_missing_file(tmp_path, refusal):
    path = tmp_path / "nowhere.pt"
    assert refusal(lambda: load(path)) == f"{path} does not exist, but must be a checkpoint: check the path"


def test_load_refuses_to_unpickle_code(tmp_path, refusal):
    path = tmp_path / "newest.pt"
    save(path, {"path": Path("x")})
    assert refusal(lambda: load(path)) == f"{path} is damaged or no checkpoint: use another one"


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.9, 0.999])
def test_load_refuses_part_of_a_file(tmp_path, share, refusal):
    path = tmp_path / "newest.pt"
    save(path, {"tensor": torch.arange(1000)})
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    assert refusal(lambda: load(path)) == f"{path} is damaged or no checkpoint: use another one"


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize(
    "content", [b"hello world", b"this is no checkpoint", b"GIF89a", b"\x89PNG\r\n", b"PK\x03\x04", b"{}"]
)
def test_load_refuses_files_of_any_other_kind(tmp_path, content, refusal):
    path = tmp_path / "newest.pt"
    path.write_bytes(content)
    assert refusal(lambda: load(path)) == f"{path} is damaged or no checkpoint: use another one"


@pytest.mark.parametrize("content", [torch.zeros(3), [1, 2]])
def test_load_refuses_content_that_is_no_dict(tmp_path, content, refusal):
    path = tmp_path / "newest.pt"
    save(path, content)
    assert refusal(lambda: load(path)) == f"{path} is no checkpoint of a trial: use another one"


@pytest.mark.parametrize("missing", ["config", "info", "frozen_digest"])
def test_load_model_refuses_other_dicts(tmp_path, make_config, missing, refusal):
    # An encoder's weights have no config, a newest.pt has no info, older versions have no digest
    path = tmp_path / "newest.pt"
    config = make_config()
    model = build_model(config, INFO, MEAN, STD)
    content = {
        "config": config.model_dump_json(),
        "info": INFO.model_dump_json(),
        "epoch": 1,
        "metrics": {},
        "frozen_digest": model.frozen_digest,
        "model": model.state_dict(),
    }
    save(path, content)
    assert load_model(path).config == config
    del content[missing]
    save(path, content)
    assert refusal(lambda: load_model(path)) == f"{path} is no best.pt of a trial: use another one"
