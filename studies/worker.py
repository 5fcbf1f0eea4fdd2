"""A trial inside a Ray worker: the fit loop's generator behind Tune's class API, with its W&B run."""

import os
import platform
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import torch
from ray import tune

from studies import tracking
from studies.spec import WandbMode
from trainables.architectures import ARCHITECTURES
from trainables.checkpoints import BEST, NEWEST, load_model
from trainables.config import TrialConfig
from trainables.fit import fit
from trainables.predict import evaluate, side_by_side
from trainables.records import DivergedError, EpochRecord
from trainables.tiles import TrainVal

MAX_PICTURES = 4
"""Val tiles in a trial's pictures, so that a study's logs stay small; the selected models show all of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSettings:
    """What every worker of a study is told once.

    Attributes:
        out: The study's folder, absolute; on a cluster on storage that all nodes share.
        study: The study's name.
        profile: For the W&B config.
        wandb: The W&B mode.
        num_threads: CPU cores of one trial.
        overlays_every: Epochs between a trial's pictures.
    """

    out: Path
    study: str
    profile: str
    wandb: WandbMode
    num_threads: int
    overlays_every: int


def stop_file(out: Path) -> Path:
    """While this file is there, trials end before their next batch."""
    return out / ".stop"


def trial_folder(out: Path, arm: str, number: int) -> Path:
    """Where a trial's checkpoints lie."""
    return out / "checkpoints" / arm / f"{number:04d}"


def device() -> str:
    """The device that Ray gave this worker."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def use_threads(num_threads: int) -> None:
    """Keeps this process to its share of the cores."""
    torch.set_num_threads(num_threads)
    cv2.setNumThreads(1)
    os.environ["OMP_NUM_THREADS"] = str(num_threads)


class Trial(tune.Trainable):  # type: ignore[misc]
    """Runs one trial after another in one process: `step` is the generator's next epoch, `reset_config` opens the next.

    Results have `epoch`, `best`, `best_epoch`, `ended` and `seconds`; or `error` (`diverged` or `failed`) with
    `reason` and `details`; or `interrupted`.
    """

    def setup(self, config: dict[str, Any], tiles: TrainVal, settings: WorkerSettings) -> None:
        """Opens the first trial; `tiles` are read zero-copy from Ray's object store."""
        self._tiles, self._settings = tiles, settings
        use_threads(settings.num_threads)
        self._open(config)

    def step(self) -> dict[str, Any]:
        """One epoch."""
        try:
            record = next(self._epochs)
        except StopIteration:
            return {"interrupted": True, "done": True}
        except DivergedError as error:
            return {"error": "diverged", "reason": str(error), "details": ""}
        except Exception as error:
            reason = f"{type(error).__name__}: {error}".splitlines()[0]
            return {"error": "failed", "reason": reason, "details": traceback.format_exc()}
        self._log(record)
        return {
            "epoch": record.epoch,
            "best": record.best,
            "best_epoch": record.best_epoch,
            "ended": record.ended,
            "seconds": record.seconds,
        }

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Closes the trial that ended and opens the next, in the same warm process."""
        self._close()
        self._open(new_config)
        return True

    def cleanup(self) -> None:
        """Closes the last trial."""
        self._close()
        tracking.complete_files()

    def _open(self, config: dict[str, Any]) -> None:
        settings, arm, number = self._settings, config["arm"], config["number"]
        trial_config = TrialConfig.model_validate_json(config["config"])
        val = self._tiles.val
        center = trial_config.recipe.val_center_px
        self._val = val if center is None else val.center_windows(center)
        self._run = tracking.Run(
            settings.out,
            settings.wandb,
            name=f"{arm}/{number}",
            group=f"{settings.study}/{arm}",
            job_type="trial",
            config=_wandb_config(settings, arm, number, trial_config),
        )
        self._folder = trial_folder(settings.out, arm, number)
        stop = stop_file(settings.out)
        self._epochs = fit(
            trial_config,
            self._tiles,
            checkpoints=self._folder,
            device=device(),
            num_threads=settings.num_threads if device() == "cuda" else 0,
            predictions_every=settings.overlays_every,
            should_stop=stop.exists,
        )

    def _close(self) -> None:
        self._epochs.close()  # type: ignore[attr-defined]
        self._run.finish()
        (self._folder / NEWEST).unlink(missing_ok=True)

    def _log(self, record: EpochRecord) -> None:
        shown = range(min(MAX_PICTURES, len(record.predictions)))
        pictures = [
            side_by_side(self._val.images[i], self._val.masks[i], record.predictions[i], self._tiles.info)
            for i in shown
        ]
        tracking.log_epoch(self._run, record, pictures, [self._val.ids[i] for i in shown])


def evaluate_selected(folder: Path, tiles: TrainVal, num_threads: int) -> dict[str, Any]:
    """Scores a trial's best checkpoint on whole val tiles; `pictures` are (H, W', 3) uint8, one per tile."""
    use_threads(num_threads)
    trained = load_model(folder / BEST)
    target = torch.device(device())
    result = evaluate(
        trained.model.to(target, memory_format=torch.channels_last),  # type: ignore[call-overload]
        tiles.val,
        tiles.info,
        stride=trained.stride,
        bce_weight=trained.config.bce_weight,
        device=target,
    )
    predicted = zip(tiles.val.images, tiles.val.masks, result.predictions, strict=True)
    return {
        "val_iou": result.scores.iou,
        "val_f1": result.scores.f1,
        "tile_iou": dict(zip(tiles.val.ids, result.scores.tile_iou, strict=True)),
        "pictures": [side_by_side(image, mask, prediction, tiles.info) for image, mask, prediction in predicted],
    }


def _wandb_config(settings: WorkerSettings, arm: str, number: int, config: TrialConfig) -> dict[str, Any]:
    architecture = ARCHITECTURES[config.architecture]
    return {
        "study": settings.study,
        "arm": arm,
        "trial": number,
        "architecture": config.architecture,
        "architecture_label": architecture.label(small=config.recipe.small),
        "tiles": config.tiles,
        "profile": settings.profile,
        "judged_metric": config.judged_metric,
        "signature": config.signature(),
        "hyperparameters": {
            "lr": config.lr,
            "augmentation": config.augmentation,
            "decoder_dropout": config.decoder_dropout,
            "bce_weight": config.bce_weight,
        },
        "device": device(),
        "worker": f"{platform.node()}/{os.getpid()}",
        "trial_config": config.model_dump(mode="json"),
    }
