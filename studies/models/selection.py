"""What a search selected: scored on whole val tiles, logged, and written to selection.json."""

from collections.abc import Callable, Mapping
from pathlib import Path

from analysis.logs.rows import SelectionRow, pictures_key
from studies.backend.scoring import Scorers, score_on_val, val_pictures
from studies.backend.watch import Permit
from studies.backend.worker import trial_folder
from studies.folder import write_json
from studies.logs import tracking
from studies.models.evaluation import read_pictures, shown
from studies.preparation import Prepared
from studies.search.trials import Progress
from studies.spec import Arm
from trainables.checkpoints import BEST

NAME = "selection.json"


def validate(
    selected: Mapping[Arm, Progress],
    prepared: Prepared,
    scorers: Scorers,
    *,
    out: Path,
    permit: Permit,
    log: tracking.WandbRun,
    later: Callable[[], float],
) -> dict[str, str]:
    """Scores the selected checkpoints on whole val tiles, logs them and writes selection.json.

    Args:
        selected: The selected trial of each arm that has one.
        prepared: The study's tiles and spec.
        scorers: Workers that score.
        out: The study's folder.
        permit: Where it is withdrawn meanwhile, nothing is written.
        log: The study's run.
        later: Seconds of the study that come after this.

    Returns:
        Arms whose model could not be scored, with the reason.
    """
    results = score_on_val(
        scorers,
        [(arm, progress.assignment.number) for arm, progress in selected.items()],
        prepared.tiles,
        out=out,
        tiles_digest=prepared.scored_tiles,
        permit=permit,
        pictures=True,
        later=later,
    )
    if permit.ending is not None:
        return {}
    val = prepared.tiles.val
    pictured = [val.ids[i] for i in shown(len(val))]
    content = {}
    for arm, progress in selected.items():
        number, config = progress.assignment.number, progress.assignment.config
        result = results[arm, number]
        row = SelectionRow(
            arm=arm.name,
            number=number,
            signature=config.signature(),
            judged=progress.best,
            val_iou=result.get("iou"),
            val_f1=result.get("f1"),
            best_epoch=progress.best_epoch,
        )
        tracking.log_selection(log, row)
        if "error" not in result and (pictures := read_pictures(val_pictures(out, (arm, number)), pictured)):
            log.log_pictures(pictures_key("val", arm.name), list(pictures.values()), list(pictures))
        checkpoint = (trial_folder(out, arm.name, number) / BEST).relative_to(out)
        content[arm.name] = {key: value for key, value in row.items() if key != "arm"} | {
            "architecture_label": arm.label(prepared.spec),
            "judged_metric": prepared.spec.judged_metric,
            "tile_iou": result.get("tile_iou"),
            "checkpoint": str(checkpoint),
            "config": config.model_dump(mode="json"),
        }
    write_json(out / NAME, content)
    return {arm.name: result["error"] for (arm, _), result in results.items() if "error" in result}
