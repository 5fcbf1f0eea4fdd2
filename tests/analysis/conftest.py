"""Writes small studies with the real W&B library, offline, as `studies/logs/tracking.py` logs them."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import wandb

from analysis.logs import rows
from analysis.logs.run_configs import STUDY_JOB, TRIAL_JOB
from tests.analysis.made_up import SPEC, arm_facts, study_config, tile_scores

HYPERPARAMETERS = {"lr": 1e-3, "augmentation": "LIGHT", "decoder_dropout": 0.3, "bce_weight": 0.5}
LABELS = {"unet": "unet (base width 16)", "sam_conv": "sam_conv"}
VAL_TILES = ["t1", "t2", "t3"]
TEST_TILES = ["e1", "e2", "e3.a"]
GROUPS = {"t1": "north", "t2": "north", "t3": "south", "e1": "north", "e2": "west"}  # of one tile none is known


PANELS = ((200, 40, 40), (40, 200, 40), (40, 40, 200))


def panels(number: int, tile: int) -> np.ndarray:
    """(40, 3·40 + 16, 3) image, truth and prediction as trials log them: red, green, blue, the darker the later."""
    strip = np.full((40, 136, 3), 255, np.uint8)
    for place, colour in enumerate(PANELS):
        strip[:, 48 * place : 48 * place + 40] = np.maximum(0, np.array(colour) - 20 * number)
    strip[0, 0] = tile  # W&B keeps equal pictures once
    return strip


class FakeStudy:
    """Logs a study under `out`: first its trials, then `end`, which logs the study's own run."""

    def __init__(
        self,
        out: Path,
        name: str = "demo",
        metric: str = "val/iou_center512",
        tiles: tuple[int, ...] = (24, 5),
        phase: str = "phase2_tuning",
    ):
        self.out, self.name, self.metric, self.phase = out, name, metric, phase
        frozen = {"unet": 0, "sam_conv": 89_670_912}
        self.arms = [
            arm_facts(name, count, architecture_label=label, is_stand_in=label != name, num_frozen=frozen[name])
            | {"weights": "none"}
            for count in tiles
            for name, label in LABELS.items()
        ]
        self.ended: list[dict[str, Any]] = []
        self.models: list[dict[str, Any]] = []
        self.opened: list[dict[str, Any]] = []

    def run(self, **kwargs: Any) -> Any:
        settings = wandb.Settings(
            silent=True, console="off", x_disable_stats=True, disable_git=True, disable_code=True, x_disable_meta=True
        )
        self.out.mkdir(parents=True, exist_ok=True)
        return wandb.init(
            project="fewtile", mode="offline", dir=self.out, settings=settings, reinit="finish_previous", **kwargs
        )

    def segment(
        self,
        arm: str,
        number: int,
        values: list[float],
        *,
        stage: str = "search",
        run_arm: str | None = None,
        config: dict[str, Any] | None = None,
        **hyper: Any,
    ):
        """Logs one W&B run of a trial and returns its file: epoch i has the judged value `values[i - 1]`."""
        about = next(row for row in self.arms if row["arm"] == arm)
        run_arm = run_arm or arm
        run = self.run(
            job_type=TRIAL_JOB,
            group=f"{self.name}/{run_arm}",
            name=f"{run_arm}/{number}",
            config={
                **{key: about[key] for key in ("arm", "architecture", "architecture_label", "tiles")},
                "study": self.name,
                "stage": stage,
                "run_arm": run_arm,
                "trial": number,
                "resumed_after": 0,
                "micro_batch_size": 0,
                "profile": "smoke",
                "judged_metric": self.metric,
                "dtype": "fp32",
                "device_model": "a CPU",
                "signature": f"sig-{run_arm}-{number}",
                "hyperparameters": HYPERPARAMETERS | hyper,
                "trial_config": {"size_px": 512},
                **(config or {}),
            },
        )
        for epoch, value in enumerate(values, start=1):
            run.log(
                {
                    "epoch": epoch,
                    "train/loss": 1 / epoch,
                    "val/loss": 2 / epoch,
                    self.metric: value,
                    self.metric.replace("iou", "f1"): 2 * value / (1 + value),
                    f"{self.metric}/t1": value + 0.01,
                    "lr": 0.001,
                    "epoch_seconds": 2.0,
                    "epochs_spent": epoch,
                }
            )
        run.log(
            {"overlays": [wandb.Image(panels(number, place), caption=tile) for place, tile in enumerate(("t1", "t.2"))]}
        )
        run.finish()
        return Path(run.settings.sync_file)

    def trial(
        self,
        arm: str,
        number: int,
        values: list[float],
        state: str = "finished",
        reason: str = "",
        cost: dict[str, Any] | None = None,
        stage: str = "search",
        run_arm: str | None = None,
        **hyper: Any,
    ):
        """Logs a trial and remembers its end for `end`; it took 10 seconds an epoch, and `cost` is logged as well."""
        path = self.segment(arm, number, values, stage=stage, run_arm=run_arm, **hyper)
        row = {"arm": arm, "run_arm": run_arm or arm, "number": number, "stage": stage, "state": state}
        row |= {"signature": f"sig-{run_arm or arm}-{number}", "reason": reason, "epochs": len(values)}
        row |= {"seconds": 10.0 * len(values), "micro_batch_size": 0, "lost_epochs": 0, "lost_seconds": 0.0}
        row |= cost or {}
        if values and state != "failed":
            row |= {"judged": max(values), "best_epoch": values.index(max(values)) + 1}
        self.ended.append(row)
        return path

    def model(
        self, arm: str, number: int, state: str = "finished", *, values: list[float] | None = None, **about: Any
    ) -> None:
        """Remembers for `end` what a final model came to: it has tile subset 0 and its own seed.

        `values` logs its trial too, `val_tile_iou` and `test_tile_iou` are by tile id, and an arm that was searched
        over has its final models under a name of their own.
        """
        run_arm = about.pop("run_arm", f"{arm}-confirmation-5e1ec7ed" if self.phase == "phase2_tuning" else arm)
        row = {"arm": arm, "number": number, "run_arm": run_arm, "subset": 0, "seed": number, "state": state}
        row |= {"init_seed": 100 + number, "draw_seed": 200 + number, "subset_seed": 42, "attempt": f"{arm}-a"}
        row["signature"] = f"sig-{run_arm}-{number}"
        if values is not None:
            self.trial(arm, number, values, state=state, stage="final", run_arm=run_arm)
            names = ("best_epoch", "epochs", "seconds", "micro_batch_size")
            row |= {key: self.ended[-1][key] for key in names if key in self.ended[-1]}
        for split in ("val", "test"):
            if by_tile := about.pop(f"{split}_tile_iou", None):
                row |= tile_scores(split, by_tile)
        self.models.append(row | about)

    def open(self, arm: str, event: str, at: str = "2026-11-20T10:00:00", **about: Any) -> None:
        """Remembers for `end` that the test tiles were opened."""
        self.opened.append({"arm": arm, "attempt": f"{arm}-a", "event": event, "at": at, "tiles_digest": "d"} | about)

    def end(
        self,
        selection: dict[str, tuple[int, float, float]],
        *,
        images: tuple[str, ...] = (),
        tested: tuple[str, ...] = (),
        alone: dict[str, int] | None = None,
        **config: Any,
    ) -> Path:
        """Logs the study's run: the ended trials, and per arm the number, val IoU and val F1 that were selected.

        `images` are arms with a picture per val tile, `tested` those with one per test tile, `alone` is a grey level
        per key with a single one.
        """
        run = self.run(
            job_type=STUDY_JOB,
            name=self.name,
            config=study_config(
                self.name,
                self.arms,
                **{
                    "phase": self.phase,
                    "profile": "smoke",
                    "judged_metric": self.metric,
                    "spec": SPEC
                    | {"data": "tiles/roofs", "weights": ["resnet34=imagenet", "sam_vit_b=files/sam.pth"]}
                    | {"epochs": 4, "grace_epochs": 1, "architectures": list(LABELS)},
                    "trivial": {"class": "roof", "iou": 0.25, "f1": 0.4, "judged": 0.3},
                    "val_tiles": VAL_TILES,
                    "test_tiles": TEST_TILES,
                    "groups": GROUPS,
                    "slots": {"count": 2, "cpus": 1, "gpus": 0.0},
                    "num_val_tiles": len(VAL_TILES),
                }
                | config,
            ),
        )
        for row in self.ended:
            run.log(rows.TRIAL.to_history(row))
        for arm, (number, val_iou, val_f1) in selection.items():
            end = next(row for row in self.ended if (row["run_arm"], row["number"]) == (arm, number))
            row = {
                "arm": arm,
                "number": number,
                "signature": f"sig-{arm}-{number}",
                "val_iou": val_iou,
                "val_f1": val_f1,
            }
            row |= {key: end[key] for key in ("judged", "best_epoch")}
            run.log(rows.SELECTION.to_history(row))
        for row in self.models:
            run.log(rows.MODEL.to_history(row))
        for row in self.opened:
            run.log(rows.OPENING.to_history(row))
        for split, arms, tiles in (("val", images, VAL_TILES), ("test", tested, TEST_TILES)):
            for place, arm in enumerate(arms):
                strips = [np.full((40, 120, 3), 60 * place + 20 * tile, np.uint8) for tile in range(len(tiles))]
                pictures = [wandb.Image(strip, caption=tile) for strip, tile in zip(strips, tiles, strict=True)]
                run.log({rows.pictures_key(split, arm): pictures})
        for key, grey in (alone or {}).items():
            run.log({key: wandb.Image(np.full((40, 120, 3), grey, np.uint8))})
        run.finish()
        self.flush()
        return Path(run.settings.sync_file)

    @staticmethod
    def flush() -> None:
        """Waits until W&B has closed its files: `finish` returns some milliseconds before that."""
        wandb.teardown()


@pytest.fixture(scope="session", autouse=True)
def _wandb_home(tmp_path_factory: pytest.TempPathFactory):
    """Keeps W&B's caches and settings out of the person's home."""
    home = tmp_path_factory.mktemp("wandb-home")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("WANDB_CACHE_DIR", "WANDB_CONFIG_DIR", "WANDB_DATA_DIR", "WANDB_ARTIFACT_DIR"):
            patch.setenv(name, str(home))
        patch.setenv("WANDB_ERROR_REPORTING", "false")
        for name in [name for name in os.environ if name.startswith("WANDB_RUN") or name == "WANDB_MODE"]:
            patch.delenv(name)
        yield


@pytest.fixture
def fake_study(tmp_path: Path) -> Callable[..., FakeStudy]:
    """Starts a study in this test's own folder."""
    return lambda **kwargs: FakeStudy(tmp_path / "out", **kwargs)


@pytest.fixture(scope="session")
def new_study() -> type[FakeStudy]:
    """Starts a study in a folder that a wider fixture names."""
    return FakeStudy


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of two architectures and two budgets, judged on centre windows; one arm has nothing to select."""
    study = FakeStudy(tmp_path_factory.mktemp("demo") / "out")
    study.trial("unet-24", 0, [0.30, 0.52, 0.50])
    study.trial("unet-24", 1, [0.20], state="stopped", reason="asha at epoch 1")
    study.trial("unet-24", 2, [0.40, 0.61, 0.58], lr=0.0031622776601683794, augmentation="MEDIUM")
    study.trial("unet-24", 3, [0.10, 0.11], state="diverged", reason="loss is NaN")
    study.trial("sam_conv-24", 0, [0.66, 0.64], decoder_dropout=0.1)
    study.trial("sam_conv-24", 1, [0.31], state="interrupted")
    study.segment("sam_conv-24", 2, [0.45, 0.47])
    study.trial("unet-5", 0, [0.33, 0.41])
    study.trial("sam_conv-5", 0, [], state="failed", reason="out of memory")
    study.end(
        {"unet-24": (2, 0.60, 0.75), "sam_conv-24": (0, 0.64, 0.78), "unet-5": (0, 0.40, 0.57)},
        images=("unet-24", "sam_conv-24"),
    )
    return study.out
