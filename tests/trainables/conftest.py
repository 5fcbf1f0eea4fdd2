"""Short trials for the tests of one room."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from trainables import trial as trial_module
from trainables.checkpoints import build_model, save
from trainables.common.errors import UserError
from trainables.config import Recipe, TrialConfig
from trainables.data.tiles import DatasetInfo
from trainables.metrics import Scores
from trainables.models.architecture import IMAGENET, Architecture
from trainables.models.architectures import ARCHITECTURES
from trainables.models.segmenter import Segmenter
from trainables.models.spec import ModelSpec
from trainables.predict import Evaluation
from trainables.training import TrainingState


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """One thread for torch: on small tensors two only wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def make_config() -> Callable[..., TrialConfig]:
    """Configurations of two steps per epoch at 64 px; a keyword of the recipe's goes to the recipe."""

    def make(**changes: Any) -> TrialConfig:
        trial: dict[str, Any] = {"architecture": "unet", "tiles": 3, "lr": 1e-3, "augmentation": "LIGHT"}
        recipe: dict[str, Any] = {"epochs": 2, "draws_per_epoch": 4, "batch_size": 2, "small": True}
        for name, value in changes.items():
            (recipe if name in Recipe.model_fields else trial)[name] = value
        return TrialConfig(**trial, recipe=Recipe(**recipe))

    return make


class TinyNet(nn.Module):
    """Encoder and decoder of one layer each, with batch norm and dropout."""

    def __init__(self, spec: ModelSpec):
        super().__init__()
        self.encoder = nn.Sequential(nn.Conv2d(spec.num_bands, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU())
        self.decoder = nn.Sequential(nn.Dropout2d(spec.decoder_dropout), nn.Conv2d(4, spec.num_outputs, 3, padding=1))
        if spec.weights != "none":
            self.encoder.load_state_dict(torch.load(spec.weights, weights_only=True))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.decoder(self.encoder(x))
        return logits


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, Any]:
    """Adds an architecture `tiny` with an encoder to freeze; the arguments of a configuration that uses it."""
    row = Architecture(
        name="tiny",
        track="cnn",
        build=TinyNet,
        stride=8,
        encoder="tiny",
        normalisation=IMAGENET,
        source="this test",
    )
    monkeypatch.setitem(ARCHITECTURES, "tiny", row)
    torch.manual_seed(0)
    path = tmp_path / "tiny_encoder.pth"
    torch.save(TinyNet(ModelSpec(num_bands=3, num_outputs=1)).encoder.state_dict(), path)
    return {"architecture": "tiny", "weights": str(path)}


@pytest.fixture(scope="session")
def resnet34_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The state dict of a ResNet34 encoder for three bands, randomly initialised."""
    import segmentation_models_pytorch as smp

    torch.manual_seed(1)
    path = tmp_path_factory.mktemp("weights") / "resnet34.pth"
    torch.save(smp.encoders.get_encoder("resnet34", weights=None).state_dict(), path)
    return path


@pytest.fixture(scope="session")
def refusal() -> Callable[[Callable[[], Any]], str]:
    """The message of the `UserError` that an action ends in, which must be one line."""

    def of(action: Callable[[], Any]) -> str:
        with pytest.raises(UserError) as caught:
            action()
        message = str(caught.value)
        assert "\n" not in message
        return message

    return of


@pytest.fixture(scope="session")
def save_best() -> Callable[..., Segmenter]:
    """Saves the `best.pt` of a model as a configuration begins with it, or as it was changed; gives the model."""

    def write(path: Path, config: TrialConfig, info: DatasetInfo, change: Any = lambda _: None) -> Segmenter:
        torch.manual_seed(0)
        bands = range(len(info.bands))
        model = build_model(config, info, [0.1 + 0.1 * n for n in bands], [0.5 + 0.1 * n for n in bands])
        change(model)
        about = {"config": config.model_dump_json(), "info": info.model_dump_json(), "metrics": {"val/iou": 0.25}}
        save(path, about | {"epoch": 3, "frozen_digest": model.frozen_digest, "model": model.state_dict()})
        return model

    return write


@pytest.fixture
def judge_as(monkeypatch: pytest.MonkeyPatch) -> Callable[[Iterable[float]], None]:
    """Lets the epochs be judged as the values say, whatever was trained."""

    def judge(values: Iterable[float]) -> None:
        left = iter(values)

        def judged(model: Any, tiles: Any, *_: Any, **__: Any) -> Evaluation:
            value = next(left)
            return Evaluation(1.0, Scores(value, value, (value,) * len(tiles)), ())

        monkeypatch.setattr(trial_module, "evaluate", judged)

    return judge


@pytest.fixture
def append(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, nn.Module], None]:
    """Appends a module to the decoder of each trial in one epoch."""

    def at(epoch: int, module: nn.Module) -> None:
        original = TrainingState.start_epoch

        def start(self: TrainingState, number: int) -> None:
            original(self, number)
            self.model.network.decoder.append(module if number == epoch else nn.Identity())

        monkeypatch.setattr(TrainingState, "start_epoch", start)

    return at
