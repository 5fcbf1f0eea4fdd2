"""A trial inside a Ray worker: the fit loop's generator behind Tune's class API, with its W&B run."""

import contextlib
import itertools
import os
import platform
import time
import traceback
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ray import tune

from analysis.logs.rows import OVERLAYS
from analysis.logs.run_configs import THEN, TRIAL_JOB, TrialRunConfig
from studies.files.folder import beat_file, trial_folder
from studies.logs import tracking
from studies.logs.tensorboard import Curves
from studies.models.evaluation import BEAT_SECONDS, picture, pictured
from studies.spec import WandbMode
from trainables.checkpoints import NEWEST, load, load_config, newest_valid
from trainables.common.errors import UserError, is_disk_trouble
from trainables.config import TrialConfig
from trainables.data.tiles import TrainVal
from trainables.device import DeviceError, device_model, dtype_name, named_device, use_threads
from trainables.folds.split import judged_tiles
from trainables.records import DivergedError, EpochRecord, OutOfMemoryError, records_from_json
from trainables.trial import fit

Fit = Callable[..., Iterator[EpochRecord]]
"""`trainables.trial.fit`, or a generator function with its arguments."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSettings:
    """The settings of a study's workers.

    Attributes:
        out: The study's folder, absolute; on a cluster on storage that all nodes share.
        study: The study's name.
        study_id: What tells it from others of that name, in a W&B project that they share.
        profile: For the W&B config.
        wandb: The W&B mode.
        num_threads: CPU cores of one trial.
        overlays_every: Epochs between a trial's pictures.
        device: `cpu` or `cuda`.
        permit: Trials end before their next batch when this file is gone. Each driver has
            its own, so that what a killed driver left behind ends itself.
        tensorboard: Whether to write curves for TensorBoard, too.
        checkpoint_seconds: See `fit`.
        fit: What a trial does.
    """

    out: Path
    study: str
    profile: str
    wandb: WandbMode
    num_threads: int
    overlays_every: int
    device: str
    permit: Path
    study_id: str = ""
    tensorboard: bool = False
    checkpoint_seconds: float = 60.0
    fit: Fit = field(default=fit)


class TrialWorker(tune.Trainable):  # type: ignore[misc]
    """Runs one trial after another in one process: `step` is the generator's next epoch, `reset_config` opens the next.

    A trial resumes from its newest whole checkpoint. Results have `epoch`, `best`, `best_epoch`, `ended`, `seconds` and
    `is_replayed` (the record comes from the checkpoint); or `error` (`diverged`, `out of memory`, `user error` or
    `failed`) with `reason` and `details`; or `interrupted`.
    """

    def setup(self, config: dict[str, Any], tiles: TrainVal, settings: WorkerSettings) -> None:
        """Takes the first trial; `tiles` are read zero-copy from Ray's object store."""
        self._tiles, self._settings = tiles, settings
        use_threads(settings.num_threads)
        self._take(config)

    def step(self) -> dict[str, Any]:
        """One epoch; the first opens the trial, so that one that hangs while it opens is noticed like others."""
        try:
            if not self._is_open:
                self._open()
            record = next(self._replayed, None)
            is_replayed = record is not None
            if record is None:
                record = next(self._epochs)
                self._log(record)
        except StopIteration:
            if self._settings.permit.exists():
                return {"error": "failed", "reason": "the trial ended without saying why", "details": ""}
            return {"interrupted": True, "done": True}
        except DivergedError as error:
            return {"error": "diverged", "reason": str(error), "details": ""}
        except OutOfMemoryError as error:
            return {"error": "out of memory", "reason": str(error), "details": ""}
        except UserError as error:  # not the trial's fault: others would meet it too
            return {"error": "user error", "reason": str(error), "details": ""}
        except DeviceError:  # the trial needs another process
            raise
        except Exception as error:
            if is_disk_trouble(error):
                return {"error": "user error", "reason": str(error), "details": ""}
            reason = f"{type(error).__name__}: {error}".splitlines()[0]
            return {"error": "failed", "reason": reason, "details": traceback.format_exc()}
        return {
            "epoch": record.epoch,
            "best": record.best,
            "best_epoch": record.best_epoch,
            "ended": record.ended,
            "seconds": record.seconds,
            "is_replayed": is_replayed,
        }

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Closes the trial that ended and takes the next, in the same warm process."""
        self._close()
        self._take(new_config)
        return True

    def cleanup(self) -> None:
        """Closes the last trial."""
        self._close()
        tracking.complete_files()

    def _take(self, job: dict[str, Any]) -> None:
        self._job, self._is_open = job, False
        self._run: tracking.WandbRun | None = None
        self._curves: Curves | None = None
        self._epochs: Iterator[EpochRecord] = iter(())
        self._replayed: Iterator[EpochRecord] = iter(())
        self._unlogged: EpochRecord | None = None

    def _open(self) -> None:
        self._is_open = True
        settings, job = self._settings, self._job
        arm, number = job["arm"], job["number"]
        self._beat = beat_file(settings.out, arm, number)
        self._beat_at = 0.0
        self._may_not_go_on()
        folder = trial_folder(settings.out, arm, number)
        config = load_config(job["config"], folder)
        val = judged_tiles(config, self._tiles.budget(config.tiles, config.recipe.subset_seed))
        center = config.recipe.val_center_px
        self._val = val if center is None else val.center_windows(center)
        self._pictured = pictured(len(val))
        resume = newest_valid(folder, config)
        records = [] if resume is None else records_from_json(load(resume, NEWEST)["records"])
        title = config.label.replace(config.architecture, arm, 1)  # no random encoder without saying so
        self._run = tracking.WandbRun(
            settings.out,
            settings.wandb,
            name=f"{title}/{number}",
            group=f"{settings.study}/{title}",
            job_type=TRIAL_JOB,
            config=_wandb_config(settings, job, config, records),
        )
        for record in records:  # so that the newest run of a trial is whole
            tracking.log_epoch(self._run, record)
        self._curves = Curves(settings.out, arm, number, len(records)) if settings.tensorboard else None
        self._replayed = iter([record for record in records if record.epoch > job["epoch"] or record.ended])
        self._epochs = settings.fit(
            config,
            self._tiles,
            checkpoints=folder,
            checkpoint_seconds=settings.checkpoint_seconds,
            checkpoint_epochs={1, *job["rungs"]},  # with one from the start, a repeated epoch spoils no best.pt
            resume=resume,
            device=settings.device,
            num_threads=settings.num_threads if settings.device == "cuda" else 0,
            predictions_every=1,  # whoever stops the trial does so after its record: pictures of any may be the last
            predictions_of=self._pictured,
            micro_batch_size=job["micro_batch_size"] or None,
            should_stop=self._may_not_go_on,
        )

    def _may_not_go_on(self) -> bool:
        """Asked before each batch and val tile: also a sign of life."""
        now = time.monotonic()
        if now - self._beat_at >= BEAT_SECONDS:
            self._beat_at = now
            with contextlib.suppress(OSError):  # of a share that stumbles; one that stays away shows elsewhere
                self._beat.parent.mkdir(parents=True, exist_ok=True)
                self._beat.touch()
        return not self._settings.permit.exists()

    def _close(self) -> None:
        if isinstance(self._epochs, Generator):
            self._epochs.close()
        if self._run is not None:
            if self._unlogged is not None:
                self._log_pictures(self._unlogged)
            self._run.finish()
        if self._curves is not None:
            self._curves.close()

    def _log(self, record: EpochRecord) -> None:
        """Logs an epoch; its pictures every so often, and at the end, which may be when the trial is closed."""
        assert self._run is not None, "a trial that failed to open has no records"
        tracking.log_epoch(self._run, record)
        if self._curves is not None:
            self._curves.log(record)
        self._unlogged = record
        if record.ended or record.epoch % self._settings.overlays_every == 0:
            self._log_pictures(record)

    def _log_pictures(self, record: EpochRecord) -> None:
        assert self._run is not None, "a trial that failed to open has no records"
        places = self._pictured[: len(record.predictions)]  # all, or none
        pictures = [
            picture(self._val, i, prediction, self._tiles.info)
            for i, prediction in zip(places, record.predictions, strict=True)
        ]
        self._run.log_pictures(OVERLAYS, pictures, [self._val.ids[i] for i in places])
        self._unlogged = None


def _wandb_config(
    settings: WorkerSettings, job: dict[str, Any], config: TrialConfig, records: Sequence[EpochRecord]
) -> TrialRunConfig:
    """What a trial's W&B run says of it; `records` are of the epochs before it was resumed, if it was."""
    dtypes, models = [record.dtype for record in records], [record.device_model for record in records]
    if not (records and records[-1].ended):  # else nothing is computed any more
        device = named_device(settings.device)
        dtypes.append(dtype_name(config.recipe.precision, device))
        models.append(device_model(device))
    return TrialRunConfig(
        study=settings.study,
        study_id=settings.study_id,
        stage=job["stage"],
        arm=job["parent"],
        run_arm=job["arm"],
        trial=job["number"],
        resumed_after=len(records),
        micro_batch_size=job["micro_batch_size"],
        architecture=config.architecture,
        architecture_label=config.label,
        tiles=config.tiles,
        profile=settings.profile,
        judged_metric=config.judged_metric,
        signature=config.signature(),
        hyperparameters=config.hyperparameters | {"optimizer": config.optimizer},
        device=settings.device,
        dtype=_in_order(dtypes),
        device_model=_in_order(models),
        worker=f"{platform.node()}/{os.getpid()}",
        trial_config=config.model_dump(mode="json"),
    )


def _in_order(names: Iterable[str]) -> str:
    """`fp32 then bf16`: names as they came, without repetitions and without empty ones, which nobody wrote down."""
    return THEN.join(name for name, _ in itertools.groupby(filter(None, names)))
