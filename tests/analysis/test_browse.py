"""Opens the page of tiles in headless Chromium, from disk, and looks through trials and tiles as a person would."""

import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import pytest
from PIL import Image
from playwright.sync_api import Browser, Page

from analysis.browse import NAME, tiles_page
from analysis.logs.wandb_files import read_logs
from analysis.report.write import write_report
from tests.analysis.made_up import MadeUp, undrawn
from tests.analysis.pictures import PANELS


def content(page: str) -> dict:
    found = re.search(r'<script type="application/json" id="Data">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    return json.loads(found[1])


@pytest.fixture(scope="module")
def report(demo: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report elsewhere than the study that it is of; it has no figures."""
    with undrawn():
        return write_report([demo], tmp_path_factory.mktemp("elsewhere") / "report").folder


def test_every_trial_with_pictures_is_there_with_every_tile_and_the_report_links_to_the_page(report: Path):
    assert f'<a href="{NAME}">' in (report / "report.html").read_text("utf-8")
    assert tiles_page([(report, MadeUp("unet").logs())], report) is None  # of no pictures
    trials = content((report / NAME).read_text("utf-8"))["trials"]
    assert [trial["arm"] for trial in trials] == ["unet (base width 16), 24 tiles"] * 3 + ["sam_conv, 24 tiles"]
    assert all([tile["tile"] for tile in trial["tiles"]] == ["t1", "t.2"] for trial in trials)
    assert trials[0]["trial"] == "trial 2: finished, best val IoU 0.610"  # the best of its arm
    assert trials[0]["tiles"][0]["words"] == "epoch 3, val IoU 0.590"  # of which the pictures are
    for trial in trials:
        for tile in trial["tiles"]:
            assert (report / unquote(tile["path"])).is_file()
            assert (tile["width"], tile["height"]) == (136, 40)


def pictured(out: Path, *, name: str = "demo", trials: int = 1) -> Path:
    """A study whose trials logged pictures of two tiles each."""
    study = MadeUp("unet", name=name)
    for number in range(trials):
        study.trial("unet-24", number, [0.3], is_pictured=True)
    study.write(out)
    return out


def test_pictures_that_are_gone_or_torn_are_left_out(tmp_path: Path):
    out = pictured(tmp_path, trials=2)
    gone, torn, *_ = sorted(out.glob("wandb/*/files/media/images/overlays*"))
    gone.unlink()
    torn.write_bytes(torn.read_bytes()[:10])
    page = tiles_page([(out, read_logs(out))], tmp_path)
    assert sum(len(trial["tiles"]) for trial in content(page)["trials"]) == 2


def test_odd_names_of_folders_have_addresses_and_those_of_studies_end_no_script(tmp_path: Path):
    odd = pictured(tmp_path / "lr#2 50%?", name="</script><b>")
    page = tiles_page([(odd, read_logs(odd))], tmp_path)
    assert page.count("</script>") == 2
    (trial,) = content(page)["trials"]
    assert trial["study"] == "</script><b>"
    assert trial["tiles"][0]["path"].startswith("./lr%232%2050%25%3F/")
    assert (tmp_path / unquote(trial["tiles"][0]["path"])).is_file()


def test_test_pictures_have_the_score_of_the_model_that_they_are_of(tmp_path: Path):
    study = MadeUp("unet")
    for seed, iou in enumerate(([0.7, 0.1, 0.4, 0.4], [0.1, 0.9, 0.6, 0.4], [0.8, 0.4, 0.6, 0.6])):
        study.model("unet-24", seed, test=iou)  # means .4, .5 and .6: the second is the median model
    study.picture("unet-24", tmp_path, ["north-1", "north-2"])
    page = tiles_page([(tmp_path, study.logs())], tmp_path)
    assert [tile["words"] for tile in content(page)["trials"][0]["tiles"]] == ["test IoU 0.100", "test IoU 0.900"]


@pytest.fixture(scope="module")
def opened(report: Path, browser: Browser) -> Iterator[Page]:
    complaints: list[str] = []
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.set_default_timeout(10_000)
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto((report / NAME).as_uri())
    yield page
    page.close()
    assert complaints == []


def colours(page: Page) -> list[tuple[int, ...]]:
    """What the middle of each pane shows."""
    # Not wait_for_function: when it has to ask twice, the page's Content Security Policy refuses its eval
    page.evaluate("Promise.all([...document.querySelectorAll('.pane img')].map(image => image.decode()))")
    found = []
    for pane in page.locator(".pane").all():
        shot = Image.open(io.BytesIO(pane.screenshot())).convert("RGB")
        found.append(shot.getpixel((shot.width // 2, shot.height // 2)))
    return found


def test_panes_show_image_truth_and_prediction_of_the_chosen_trial(opened: Page):
    for text, number in (("trial 2", 2), ("trial 0", 0)):
        options = opened.locator("#Trial option").all_inner_texts()
        opened.locator("#Trial").select_option(index=next(i for i, o in enumerate(options) if o.startswith(text)))
        assert colours(opened) == [tuple(share - 20 * number for share in panel) for panel in PANELS]


def test_arrows_and_buttons_step_through_the_tiles_and_a_tile_stays_while_trials_change(opened: Page):
    words, tile = opened.locator("#Words"), opened.locator("#Tile")
    opened.locator("#Tile").select_option(label="t1")
    opened.get_by_role("button", name="Next tile").click()
    assert words.inner_text().startswith("t.2: epoch")
    opened.locator("#Trial").select_option(index=1)
    assert words.inner_text().startswith("t.2")
    opened.locator("h1").click()
    opened.locator("#Trial").evaluate("element => element.blur()")
    opened.keyboard.press("ArrowRight")
    assert tile.evaluate("element => element.selectedOptions[0].text") == "t1"
    opened.keyboard.press("ArrowLeft")
    assert tile.evaluate("element => element.selectedOptions[0].text") == "t.2"


@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_is_no_wider_than_the_window(opened: Page, width: int):
    opened.set_viewport_size({"width": width, "height": 900})
    assert opened.evaluate("document.documentElement.scrollWidth") <= width
