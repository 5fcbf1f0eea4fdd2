"""Makes up the logs of small studies in memory, so that what is computed from them can be worked out by hand."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from analysis.logs import rows
from analysis.logs.assemble import assemble
from analysis.logs.frames import Logs
from analysis.logs.rows import Split
from analysis.logs.run_configs import STUDY_JOB, TRIAL_JOB, ArmFacts, StudyRunConfig
from analysis.logs.wandb_run import LoggedRun

VAL_TILES = ["v1", "v2"]
TEST_TILES = ["north-1", "north-2", "south-1", "west-1"]
GROUPS = {tile: tile.split("-")[0] for tile in TEST_TILES}  # three places; those of the val tiles are not known
POINT = {"lr": 1e-3, "augmentation": "MEDIUM", "decoder_dropout": 0.3, "bce_weight": 0.5}
RANGES = {
    "lr": {"low": 1e-4, "high": 1e-2, "log": True},
    "augmentation": {"choices": ["NONE", "LIGHT", "MEDIUM", "HEAVY", "EXTREME"]},
    "decoder_dropout": {"low": 0.0, "high": 0.5, "log": False},
    "bce_weight": {"low": 0.1, "high": 0.9, "log": False},
}
SPEC = {
    "data": "/data/roofs",
    "weights": ["resnet34=imagenet"],
    "epochs": 10,
    "vary": None,
    "sampler": "tpe",
    "grace_epochs": 2,
    "seeds": 1,
    "subsets": 1,
}
TRACKS = {"sam_conv": "frozen_encoder", "sam_unet": "frozen_encoder"}


def arm_facts(architecture: str, tiles: int, **about: Any) -> ArmFacts:
    """What a study says of an arm, called like "unet-24"; keywords replace parts of it."""
    facts: ArmFacts = {
        "arm": f"{architecture}-{tiles}",
        "architecture": architecture,
        "architecture_label": architecture,
        "is_stand_in": False,
        "track": TRACKS.get(architecture, "cnn"),
        "weights": "none" if architecture == "unet" else "imagenet",
        "tiles": tiles,
        "trials": 4,
        "num_trainable": 2_000_000,
        "num_frozen": 0,
        "space": {"lr": "1e-4 to 1e-2, log"},
        "ranges": RANGES,
    }
    return facts | about  # type: ignore[return-value]


def study_config(name: str, arms: list[ArmFacts], **about: Any) -> StudyRunConfig:
    """What a study says of itself; keywords replace parts of it."""
    config: StudyRunConfig = {
        "study": name,
        "phase": "phase1_comparison",
        "spec": SPEC,
        "profile": "quick",
        "seed": 42,
        "judged_metric": "val/iou",
        "arms": arms,
        "trivial": {"class": "roof", "iou": 0.25, "f1": 0.4, "judged": 0.25},
        "val_tiles": VAL_TILES,
        "test_tiles": TEST_TILES,
        "groups": GROUPS,
        "slots": {"count": 2, "cpus": 2, "gpus": 0.0},
        "tiles_digest": "d",
        "num_train_tiles": 24,
        "num_val_tiles": len(VAL_TILES),
        "weights_digests": {},
        "versions": {},
    }
    return config | about  # type: ignore[return-value]


def tile_scores(split: Split, by_tile: dict[str, float | None]) -> dict[str, Any]:
    """The IoU of each tile of a split as a final model's row has them."""
    return {f"{split}_tiles": list(by_tile), f"{split}_tile_iou": list(by_tile.values())}


class MadeUp:
    """A study of some architectures at some numbers of tiles: add what it logged, then take its `logs`.

    Its arms are called like "unet-24". Keywords replace what the study's configuration says, and those of `spec` are
    added to it.
    """

    def __init__(
        self,
        *architectures: str,
        tiles: tuple[int, ...] = (24,),
        phase: str = "phase1_comparison",
        name: str = "demo",
        spec: dict[str, Any] | None = None,
        **config: Any,
    ):
        arms = [arm_facts(architecture, count) for count in tiles for architecture in architectures]
        self.arms = {arm["arm"]: arm for arm in arms}
        self.config = study_config(name, arms, phase=phase, spec=SPEC | (spec or {}), **config)
        self._trials: list[LoggedRun] = []
        self._rows: list[dict[str, Any]] = []

    def trial(
        self,
        arm: str,
        number: int,
        values: list[float],
        state: str = "finished",
        *,
        stage: str = "search",
        run_arm: str | None = None,
        by_tile: list[float] | None = None,
        is_ended: bool = True,
        cost: dict[str, Any] | None = None,
        config: dict[str, Any] | None = None,
        **point: Any,
    ) -> None:
        """A trial of a minute an epoch; epoch i has the value `values[i - 1]`, and `by_tile` on the val tiles.

        `config` is added to its configuration.
        """
        run_arm = run_arm or arm
        epochs = [
            {"epoch": epoch, "val/iou": value, "epoch_seconds": 60.0, "epochs_spent": epoch}
            | {f"val/iou/{tile}": iou for tile, iou in zip(VAL_TILES, by_tile or (), strict=bool(by_tile))}
            for epoch, value in enumerate(values, start=1)
        ]
        about = {key: self.arms[arm][key] for key in ("arm", "architecture", "architecture_label", "tiles")}
        config = (
            about
            | (config or {})
            | {"run_arm": run_arm, "trial": number, "stage": stage, "study": self.config["study"]}
        )
        config |= {"signature": f"sig-{run_arm}-{number}", "hyperparameters": POINT | point}
        self._trials.append(
            LoggedRun(
                path=Path(f"offline-run-1/run-{run_arm}-{number}.wandb"),
                job_type=TRIAL_JOB,
                start=(len(self._trials), 0),
                config=config,
                rows=epochs,
                ended=is_ended,
            )
        )
        if not is_ended:
            return
        end = {"arm": arm, "run_arm": run_arm, "number": number, "stage": stage, "state": state, "reason": ""}
        end |= {"signature": config["signature"], "epochs": len(values), "seconds": 60.0 * len(values)}
        end |= {"micro_batch_size": 0, "lost_epochs": 0, "lost_seconds": 0.0} | (cost or {})
        if values and state != "failed":
            end |= {"judged": max(values), "best_epoch": values.index(max(values)) + 1}
        self._rows.append(rows.TRIAL.to_history(end))

    def model(
        self,
        arm: str,
        seed: int = 0,
        *,
        subset: int = 0,
        test: Sequence[float | None] | None = None,
        val: Sequence[float | None] | None = None,
        epochs: int = 2,
        state: str = "finished",
        config: dict[str, Any] | None = None,
        **about: Any,
    ) -> None:
        """A final model with its trial; `test` and `val` are its IoU on each tile, and its own is their mean.

        None is the IoU of a tile in which no pixel counts.
        """
        run_arm = f"{arm}-confirmation" if self.config["phase"] == "phase2_tuning" else arm
        number = sum("model/arm" in row and row["model/arm"] == arm for row in self._rows)
        values = [0.1 * epoch for epoch in range(epochs)]
        self.trial(arm, number, values, state, stage="final", run_arm=run_arm, config=config)
        row = {"arm": arm, "number": number, "run_arm": run_arm, "subset": subset, "seed": seed, "state": state}
        row |= {"signature": f"sig-{run_arm}-{number}", "best_epoch": epochs, "epochs": epochs}
        row |= {"seconds": 60.0 * epochs, "micro_batch_size": 0, "init_seed": seed, "draw_seed": seed}
        for split, tiles, iou in (("val", VAL_TILES, val), ("test", TEST_TILES, test)):
            if iou is not None:
                known = [value for value in iou if value is not None]
                mean = sum(known) / len(known)
                row |= {f"{split}_iou": mean, f"{split}_f1": 2 * mean / (1 + mean)}
                row |= tile_scores(split, dict(zip(tiles, iou, strict=False)))
        self._rows.append(rows.MODEL.to_history(row | about))

    def select(self, arm: str, number: int, val_iou: float | None) -> None:
        """The trial that tuning chose, with its val IoU at full resolution."""
        row: dict[str, Any] = {"arm": arm, "number": number, "signature": f"sig-{arm}-{number}", "judged": val_iou}
        row |= {"val_iou": val_iou, "val_f1": val_iou, "best_epoch": 1}
        self._rows.append(rows.SELECTION.to_history(row))

    def open(self, arm: str, event: str = "opened", **about: Any) -> None:
        """An event of the test tiles."""
        row = {"arm": arm, "attempt": f"{arm}-a", "event": event, "at": f"{len(self._rows):04}", "tiles_digest": "t"}
        row |= {"num_attempts": 1, "num_studies": 1}
        self._rows.append(rows.OPENING.to_history(row | about))

    def picture(self, arm: str, folder: Path, tiles: list[str], *, key: str = "tested") -> None:
        """Pictures of tiles, logged under `tested/<arm>` or `selected/<arm>`; they lie under `folder/files`."""
        self._rows.append({f"{key}/{arm}": {"filenames": [f"{arm}-{tile}.png" for tile in tiles], "captions": tiles}})
        self._folder = folder

    def logs(self, *notes: str, is_ended: bool = True) -> Logs:
        """What all of it comes to when it is read."""
        folder = getattr(self, "_folder", Path("offline-run-0"))
        run = LoggedRun(
            path=folder / "run-study.wandb",
            job_type=STUDY_JOB,
            start=(0, 0),
            config=self.config,
            rows=self._rows,
            ended=is_ended,
        )
        return assemble([run], self._trials, notes)
