"""Makes up the logs of small studies, so that what is computed from them can be worked out by hand.

They are read in memory or from files, whose records `tests/benchmarks/test_report_benchmark.py` compares with W&B's.
"""

import contextlib
import itertools
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from analysis.logs import rows
from analysis.logs.assemble import assemble
from analysis.logs.frames import Logs
from analysis.logs.run_configs import STUDY_JOB, TRIAL_JOB, ArmFacts, StudyRunConfig
from analysis.logs.wandb_run import LoggedRun
from benchmarks.made_up_study import NETWORKS
from benchmarks.run_file import RunFile
from tests.analysis.pictures import save, sheet

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
START_SECONDS = 1_795_000_000  # 2026-11-18
_run_numbers = itertools.count()


def arm_facts(architecture: str, tiles: int, **about: Any) -> ArmFacts:
    """What a study says of an arm, called like "unet-24"; keywords replace parts of it."""
    decoder, encoder = NETWORKS.get(architecture, (architecture, ""))
    facts: ArmFacts = {
        "arm": f"{architecture}-{tiles}",
        "architecture": architecture,
        "architecture_label": architecture,
        "is_stand_in": False,
        "track": TRACKS.get(architecture, "cnn"),
        "weights": "none" if architecture == "unet" else "imagenet",
        "decoder": decoder,
        "encoder": encoder,
        "adaptation": "frozen" if encoder == "sam_vit_b" else "staged" if encoder else "scratch",
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


def write_run(out: Path, job_type: str, config: Any, logged: Sequence[dict[str, Any]]) -> Path:
    """Writes the file of a run that began after all others, and what pictures it logged of a trial's tiles."""
    number = next(_run_numbers)
    file = RunFile(f"{number:06}", job_type, config, START_SECONDS + number)
    for row in logged:
        file.log(row)
    path = file.write(out)
    for name, _ in (picture for row in logged for picture in rows.pictures(row.get(rows.OVERLAYS, {}))):
        save(path.parent / "files" / name, sheet(darker=20 * config["trial"]))
    return path


@contextlib.contextmanager
def undrawn() -> Iterator[None]:
    """Reports have all their figures, but these are not rendered, which takes most of the time."""
    svg = b'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 4 3"/>'
    with pytest.MonkeyPatch.context() as patch:
        for module in ("blocks", "write"):
            patch.setattr(f"analysis.report.{module}.render", lambda figure, kind: svg)
        yield


class MadeUp:
    """A study of some architectures at some numbers of tiles: add what it logged, then take its `logs` or `write` them.

    Its arms are called like "unet-24". An architecture with more words, as in "unet (base width 16)", is a small
    variant, and the words are its label. Keywords replace what the study's configuration says, and those of `spec`
    are added to it.

    Attributes:
        arms: What the study says of each arm, by its name.
        config: What it says of itself.
        rows: What its run logged.
        paths: The files of its trials, once they were written.
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
        arms = [
            arm_facts(label.split()[0], count, architecture_label=label, is_stand_in=" " in label)
            for count in tiles
            for label in architectures
        ]
        self.arms = {arm["arm"]: arm for arm in arms}
        self.config = study_config(name, arms, phase=phase, spec=SPEC | (spec or {}), **config)
        self.rows: list[dict[str, Any]] = []
        self.paths: list[Path] = []
        self._trials: list[LoggedRun] = []
        self._folder: Path | None = None

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
        is_pictured: bool = False,
        cost: dict[str, Any] | None = None,
        config: dict[str, Any] | None = None,
        **point: Any,
    ) -> None:
        """A trial of a minute an epoch; epoch i has the value `values[i - 1]`, and `by_tile` on the tiles that judge.

        `config` is added to its configuration. `is_pictured` logs a picture of each val tile in the end.
        """
        run_arm = run_arm or arm
        metric, tiles = self.config["judged_metric"], self.config["val_tiles"] or self.config["train_tiles"]
        epochs: list[dict[str, Any]] = [
            {"epoch": epoch, metric: value, "epoch_seconds": 60.0, "epochs_spent": epoch}
            | {f"{metric}/{tile}": iou for tile, iou in zip(tiles, by_tile or (), strict=bool(by_tile))}
            for epoch, value in enumerate(values, start=1)
        ]
        if is_pictured:
            names = [f"media/images/overlays_{place}.png" for place in range(len(tiles))]
            epochs.append({rows.OVERLAYS: {"filenames": names, "captions": tiles}})
        about = {key: self.arms[arm][key] for key in ("arm", "architecture", "architecture_label", "tiles")}
        config = about | (config or {}) | {"run_arm": run_arm, "trial": number, "stage": stage}
        config |= {
            "study": self.config["study"],
            "signature": f"sig-{run_arm}-{number}",
            "hyperparameters": POINT | point,
        }
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
        self.rows.append(rows.TRIAL.to_history(end))

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
        number: int | None = None,
        config: dict[str, Any] | None = None,
        **about: Any,
    ) -> None:
        """A final model with its trial; `test` and `val` are its IoU on each tile, and its own is their mean.

        None is the IoU of a tile in which no pixel counts. Models of an arm have the next number where none is given.
        """
        run_arm = f"{arm}-confirmation" if self.config["phase"] == "phase2_tuning" else arm
        if number is None:
            number = sum("model/arm" in row and row["model/arm"] == arm for row in self.rows)
        values = [0.1 * epoch for epoch in range(epochs)]
        self.trial(arm, number, values, state, stage="final", run_arm=run_arm, config=config)
        row = {"arm": arm, "number": number, "run_arm": run_arm, "subset": subset, "seed": seed, "state": state}
        row |= {"signature": f"sig-{run_arm}-{number}", "best_epoch": epochs, "epochs": epochs}
        row |= {"seconds": 60.0 * epochs, "micro_batch_size": 0, "init_seed": seed, "draw_seed": seed}
        for split, tiles, iou in (("val", self.config["val_tiles"], val), ("test", self.config["test_tiles"], test)):
            if iou is not None:
                known = [value for value in iou if value is not None]
                mean = sum(known) / len(known)
                row |= {f"{split}_iou": mean, f"{split}_f1": 2 * mean / (1 + mean)}
                row |= {f"{split}_tiles": tiles[: len(iou)], f"{split}_tile_iou": [*iou]}
        self.rows.append(rows.MODEL.to_history(row | about))

    def models(self, arm: str, count: int, **about: Any) -> None:
        """As many final models with the same scores, each with its own seed."""
        for seed in range(count):
            self.model(arm, seed, **about)

    def select(self, arm: str, number: int, val_iou: float | None) -> None:
        """The trial that tuning chose, with its val IoU at full resolution."""
        of_it = [row for row in self.rows if (row.get("trial/run_arm"), row.get("trial/number")) == (arm, number)]
        judged, best_epoch = ((of_it[-1] if of_it else {}).get(f"trial/{key}") for key in ("judged", "best_epoch"))
        row = {"arm": arm, "number": number, "signature": f"sig-{arm}-{number}", "judged": judged}
        row |= {"val_iou": val_iou, "val_f1": val_iou, "best_epoch": best_epoch}
        self.rows.append(rows.SELECTION.to_history(row))

    def open(self, arm: str, event: str = "opened", **about: Any) -> None:
        """An event of the test tiles."""
        row = {"arm": arm, "attempt": f"{arm}-a", "event": event, "at": f"{len(self.rows):04}", "tiles_digest": "t"}
        row |= {"num_attempts": 1, "num_studies": 1}
        self.rows.append(rows.OPENING.to_history(row | about))

    def picture(self, arm: str, folder: Path, tiles: Sequence[str], *, key: str = "tested") -> None:
        """Pictures of tiles, logged under `tested/<arm>` or `selected/<arm>`; they lie under `folder/files`."""
        names = [f"{arm}-{tile}.png" for tile in tiles]
        for name in names:
            save(folder / "files" / name, sheet())
        self.rows.append({f"{key}/{arm}": {"_type": "images/separated", "filenames": names, "captions": list(tiles)}})
        self._folder = folder

    def forget(self, *kinds: str) -> None:
        """Has the next run not tell again what an earlier one told, such as "trial", "selection", "model"."""
        self.rows = [row for row in self.rows if not {key.split("/")[0] for key in row} & {*kinds}]

    def logs(self, *notes: str, is_ended: bool = True) -> Logs:
        """What all of it comes to when it is read."""
        run = LoggedRun(
            path=(self._folder or Path("offline-run-0")) / "run-study.wandb",
            job_type=STUDY_JOB,
            start=(0, 0),
            config=self.config,
            rows=self.rows,
            ended=is_ended,
        )
        return assemble([run], self._trials, notes)

    def write(self, out: Path) -> Path:
        """Writes the trials that were not written yet and a run of the study, and returns the file of the latter.

        Written again, it is a study that was resumed: its new run tells all once more that it did not `forget`.
        """
        for run in self._trials[len(self.paths) :]:
            self.paths.append(write_run(out, TRIAL_JOB, run.config, run.rows))
        path = write_run(out, STUDY_JOB, self.config, self.rows)
        if self._folder is not None:
            shutil.copytree(self._folder / "files", path.parent / "files")
        return path
