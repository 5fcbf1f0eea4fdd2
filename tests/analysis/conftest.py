"""Keeps W&B out of the person's home, and has a small study on disk and a browser for the tests."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

from tests.analysis import made_up


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


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of two architectures and two budgets, judged on centre windows; one arm has nothing to select."""
    study = made_up.MadeUp(
        *("unet (base width 16)", "sam_conv"),
        tiles=(24, 5),
        phase="phase2_tuning",
        profile="smoke",
        judged_metric="val/iou_center512",
        val_tiles=["t1", "t.2"],
    )
    study.trial("unet-24", 0, [0.30, 0.52, 0.50], by_tile=[0.51, 0.48], is_pictured=True)
    study.trial("unet-24", 1, [0.20], "stopped", is_pictured=True)
    machine = {"dtype": "fp32", "device_model": "a CPU"}
    best = {"by_tile": [0.59, 0.57], "lr": 0.0031622776601683794}
    study.trial("unet-24", 2, [0.40, 0.61, 0.58], config=machine, is_pictured=True, **best)
    study.trial("unet-24", 3, [0.10, 0.11], "diverged")
    study.trial("sam_conv-24", 0, [0.66, 0.64], decoder_dropout=0.1, is_pictured=True)
    study.trial("sam_conv-24", 1, [0.31], "interrupted")
    study.trial("sam_conv-24", 2, [0.45, 0.47], is_ended=False)
    study.trial("unet-5", 0, [0.33, 0.41])
    study.trial("sam_conv-5", 0, [], "failed", cost={"reason": "out of memory"})
    for arm, number, val_iou in (("unet-24", 2, 0.60), ("sam_conv-24", 0, 0.64), ("unet-5", 0, 0.40)):
        study.select(arm, number, val_iou)
    folder = tmp_path_factory.mktemp("demo")
    for arm in ("unet-24", "sam_conv-24"):
        study.picture(arm, folder, study.config["val_tiles"], key="selected")
    study.write(folder / "out")
    return folder / "out"


@pytest.fixture
def undrawn() -> Iterator[None]:
    with made_up.undrawn():
        yield


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Headless Chromium; its event loop must end before tests of other rooms, so it is not the session's."""
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
    if found is None:
        pytest.skip("there is no Chromium on this machine")
    with sync_playwright() as playwright:
        # Root in a container has no other choice than --no-sandbox; the pages are our own.
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield browser
        browser.close()
