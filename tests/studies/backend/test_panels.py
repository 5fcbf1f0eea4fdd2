"""The panels of a trial's pictures: where the writer of pictures puts them, the reader of logs cuts them out."""

import io

import numpy as np
from PIL import Image
from rich.console import Console

from analysis.report.predictions import panels
from studies.backend.slots import Slots
from studies.command_line import make_spec
from studies.inputs import load_inputs
from studies.logs.study_config import log_config
from trainables.data.pictures import side_by_side


def test_logs_say_how_far_apart_panels_are(dataset_root, tmp_path):
    settings = {"profile": "smoke", "architectures": ["unet"], "data": str(dataset_root), "wandb": "disabled"}
    inputs = load_inputs(make_spec(settings), Console(file=io.StringIO()))
    logged = log_config(inputs, {"unet": (1, 0)}, "study", Slots(count=1, cpus=1, gpus=0.0, alone=(1, 0.0)))
    image = np.full((64, 64, 3), 200, np.uint8)
    truth, prediction = np.zeros((64, 64), np.uint8), np.ones((64, 64), np.uint8)
    sheet = side_by_side(image, truth, prediction, inputs.tiles.info)
    path = tmp_path / "sheet.png"
    Image.fromarray(sheet).save(path)
    cut = [np.asarray(Image.open(io.BytesIO(jpeg))) for jpeg in panels(str(path), logged["panel_gap_px"])]
    for panel, left in zip(cut, (0, 64 + logged["panel_gap_px"], 2 * (64 + logged["panel_gap_px"])), strict=True):
        assert panel.shape == (64, 64, 3)
        assert np.abs(panel.astype(int) - sheet[:, left : left + 64]).max() < 20
    assert np.ptp(cut[2], axis=(0, 1)).max() < 20  # no white column of a gap in it
