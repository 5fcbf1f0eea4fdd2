"""A trial inside a Ray worker: the fit loop's generator behind Tune's class API, with its W&B run."""

import os
import platform
import traceback
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import torch
from ray import tune

from studies import tracking
from studies.spec import WandbMode
from trainables.checkpoints import BEST, NEWEST, load_model
from trainables.config import TrialConfig
from trainables.fit import fit
from trainables.predict import evaluate, side_by_side
from trainables.records import DivergedError, EpochRecord
from trainables.tiles import TrainVal
from trainables.training import autocast

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
        device: `cpu` or `cuda`.
    """

    out: Path
    study: str
    profile: str
    wandb: WandbMode
    num_threads: int
    overlays_every: int
    device: str


def stop_file(out: Path) -> Path:
    """While this file is there, trials end before their next batch."""
    return out / ".stop"


def trial_folder(out: Path, arm: str, number: int) -> Path:
    """Where a trial's checkpoints lie."""
    return out / "checkpoints" / arm / f"{number:04d}"


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
        self._try_to_open(config)

    def step(self) -> dict[str, Any]:
        """One epoch."""
        try:
            if self._opening_error is not None:
                raise self._opening_error
            record = next(self._epochs)
            self._log(record)
        except StopIteration:
            return {"interrupted": True, "done": True}
        except DivergedError as error:
            return {"error": "diverged", "reason": str(error), "details": ""}
        except Exception as error:
            reason = f"{type(error).__name__}: {error}".splitlines()[0]
            return {"error": "failed", "reason": reason, "details": traceback.format_exc()}
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
        self._try_to_open(new_config)
        return True

    def cleanup(self) -> None:
        """Closes the last trial."""
        self._close()
        tracking.complete_files()

    def _try_to_open(self, config: dict[str, Any]) -> None:
        """Opens a trial; what goes wrong is the result of its first step, with its reason."""
        self._run: tracking.Run | None = None
        self._epochs: Iterator[EpochRecord] = iter(())
        self._opening_error: Exception | None = None
        self._unshown: EpochRecord | None = None
        try:
            self._open(config)
        except Exception as error:
            self._opening_error = error

    def _open(self, config: dict[str, Any]) -> None:
        settings, arm, number = self._settings, config["arm"], config["number"]
        self._folder = trial_folder(settings.out, arm, number)
        trial_config = TrialConfig.model_validate_json(config["config"])
        val = self._tiles.val
        center = trial_config.recipe.val_center_px
        self._val = val if center is None else val.center_windows(center)
        title = trial_config.label.replace(trial_config.architecture, arm, 1)  # no random encoder without saying so
        self._run = tracking.Run(
            settings.out,
            settings.wandb,
            name=f"{title}/{number}",
            group=f"{settings.study}/{title}",
            job_type="trial",
            config=_wandb_config(settings, arm, number, trial_config),
        )
        stop = stop_file(settings.out)
        self._epochs = fit(
            trial_config,
            self._tiles,
            checkpoints=self._folder,
            device=settings.device,
            num_threads=settings.num_threads if settings.device == "cuda" else 0,
            predictions_every=1,  # whoever stops the trial does so after its record: pictures of any may be the last
            should_stop=stop.exists,
        )

    def _close(self) -> None:
        if isinstance(self._epochs, Generator):
            self._epochs.close()
        if self._run is not None:
            if self._unshown is not None:
                self._show(self._unshown)
            self._run.finish()
        (self._folder / NEWEST).unlink(missing_ok=True)

    def _log(self, record: EpochRecord) -> None:
        """Logs an epoch; its pictures every so often, and at the end, which may be when the trial is closed."""
        assert self._run is not None, "a trial that failed to open has no records"
        tracking.log_epoch(self._run, record)
        self._unshown = record
        if record.ended or record.epoch % self._settings.overlays_every == 0:
            self._show(record)

    def _show(self, record: EpochRecord) -> None:
        assert self._run is not None, "a trial that failed to open has no records"
        shown = range(min(MAX_PICTURES, len(record.predictions)))
        pictures = [
            side_by_side(self._val.images[i], self._val.masks[i], record.predictions[i], self._tiles.info)
            for i in shown
        ]
        self._run.log_pictures("overlays", pictures, [self._val.ids[i] for i in shown])
        self._unshown = None


def evaluate_selected(folder: Path, tiles: TrainVal, num_threads: int, device: str) -> dict[str, Any]:
    """Scores a trial's best checkpoint on whole val tiles; `pictures` are (H, W', 3) uint8, one per tile."""
    use_threads(num_threads)
    trained = load_model(folder / BEST)
    target = torch.device(device)
    with autocast(trained.config, target):  # as it was judged
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
    return {
        "study": settings.study,
        "arm": arm,
        "trial": number,
        "architecture": config.architecture,
        "architecture_label": config.label,
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
        "device": settings.device,
        "worker": f"{platform.node()}/{os.getpid()}",
        "trial_config": config.model_dump(mode="json"),
    }
