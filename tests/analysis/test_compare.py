"""Checks the comparison of attempts: its table, grids and curves."""

import csv
import io
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from PIL import Image
from rich.console import Console

from analysis import compare
from analysis.attempts import read_attempts
from analysis.figures import figures

TILES = {"austin1": 0.71, "austin2": 0.48}
IMAGE, TRUTH = (70, 90, 110), (200, 60, 60)
OVERLAYS = ((30, 160, 60), (200, 180, 40), (60, 60, 200), (160, 60, 190), (60, 190, 190))
FILES = {"headline.csv", "headline.md", "curves.png", "grids/austin1.jpg", "grids/austin2.jpg"}

Make = Callable[..., Path]


def picture(folder: Path, kind: str, tile: str) -> Path:
    return folder / "predictions" / "val" / kind / f"{tile}.jpg"


def contents(out: Path) -> dict[str, bytes]:
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in out.rglob("*") if path.is_file()}


def pixels(jpeg: bytes) -> np.ndarray:
    """(H, W, 3) of a JPEG, as int."""
    return np.asarray(Image.open(io.BytesIO(jpeg)).convert("RGB")).astype(int)


def place(sheet: np.ndarray, colour: tuple[int, int, int]) -> tuple[int, int, int, int]:
    """Left, top, width and height of the panel of one colour, which must fill its rectangle."""
    is_panel = np.abs(sheet - np.array(colour)).max(axis=2) <= 6
    rows, columns = np.flatnonzero(is_panel.sum(axis=1) > 200), np.flatnonzero(is_panel.sum(axis=0) > 200)
    left, top = int(columns[0]), int(rows[0])
    width, height = int(columns[-1]) - left + 1, int(rows[-1]) - top + 1
    assert is_panel[top : top + height, left : left + width].mean() > 0.99
    return left, top, width, height


def test_headline_has_a_row_per_attempt_by_number_and_the_trivial_predictor(make: Make):
    ten = make("10", attempt="10", title="Swin", published={}, settings={"bce_weight": 0.7}, num_trainable=500000)
    two = make("2", attempt="2", summary={"minutes": 0.5}, changed=["epochs"], settings={"epochs": 40})
    table = compare.headline(read_attempts([ten, two]))
    assert list(table["attempt"][:2]) == ["2", "10"]
    assert table.iloc[0].to_dict() == {
        "attempt": "2",
        "model": "SMP U-Net + ResNet34 (ImageNet)",
        "lr": 0.001,
        "augmentation": "MEDIUM",
        "decoder_dropout": 0.3,
        "bce_dice": "0.5/0.5",
        "best_epoch": 2,
        "val_iou": 0.5951,
        "val_f1": 0.74,
        "minutes": 0.5,
        "trainable_millions": 24.436369,
        "published_trainable": "24 M",
        "published_val_iou": 0.765,
        "published_val_f1": 0.865,
        "published_test_iou": 0.796,
        "published_test_f1": 0.886,
        "published_best_epoch": 30,
        "published_t4_minutes": 50,
        "changed_settings": "epochs 40",
    }
    assert table.loc[1, ["bce_dice", "trainable_millions"]].to_list() == ["0.7/0.3", 0.5]
    other = compare.headline(read_attempts([make("11", settings={"loss": "dice", "bce_weight": 0.5})]))
    assert other.loc[0, "bce_dice"] == "dice"
    sources = ["published_trainable", "published_val_iou", "published_best_epoch", "published_t4_minutes"]
    assert table.loc[1, [*sources, "changed_settings"]].isna().all()
    trivial = table.iloc[2].dropna().to_dict()
    assert trivial == {"model": "trivial: everything is building", "val_iou": 0.27, "val_f1": 0.42}


@pytest.mark.parametrize(
    ("about", "model"),
    [
        ({}, "SMP U-Net + ResNet34 (ImageNet)"),
        ({"label": "unet_resnet34 (narrow)"}, "unet_resnet34 (narrow)"),
        ({"changed": ["weights"], "settings": {"weights": "none"}}, "unet_resnet34 (weights: none)"),
        ({"smoke": True}, "SMP U-Net + ResNet34 (ImageNet) (smoke)"),
        ({"smoke": True, "label": "unet_resnet34 (Smoke)"}, "unet_resnet34 (Smoke)"),
    ],
)
def test_headline_never_lets_a_variant_pass_for_the_real_thing(make: Make, about: dict[str, Any], model: str):
    assert compare.headline(read_attempts([make(**about)]))["model"][0] == model


def test_changed_settings_are_told_with_their_values(make: Make):
    attempts = read_attempts([make(changed=["window_px", "epochs", "optimiser"], settings={"window_px": None})])
    assert compare.headline(attempts)["changed_settings"][0] == "window_px none, epochs 60, optimiser"


def test_minutes_stay_readable_when_they_are_many(make: Make):
    attempts = read_attempts([make("02", summary={"minutes": 1234.5}), make("03", attempt="03")])
    shown = compare.tables.cells(compare.for_people(compare.headline(attempts)))
    assert [row[9] for row in shown] == ["1234", "51", "\N{EN DASH}"]


def test_caption_says_what_the_values_are_worth(make: Make):
    attempts = read_attempts([make("02"), make("03", attempt="03", device="cpu", settings={"tiles": 5})])
    assert compare.headline_caption(attempts) == (
        "Attempts on the data patches: 5 or 24 labelled tiles, 2 val tiles. "
        "Val chose the best epoch, so its values are optimistic: val ranks, it does not report. "
        "The test tiles are not opened by this command. Minutes are wall clock on cuda and cpu. "
        "The published columns are the reference study's own, on Inria Austin: "
        "they can be compared only where the data are the same. "
        "Changed settings are those that differ from the attempt's own; smaller or random variants are named as such."
    )


def test_caption_warns_of_smoke_runs(make: Make):
    attempts = read_attempts([make("05", attempt="05", smoke=True), make("02"), make("03", attempt="03", smoke=True)])
    warning = "Warning: smoke runs (03, 05) only show that every step works, and their numbers mean nothing."
    assert warning in compare.headline_caption(attempts)


def test_write_comparison_writes_every_file_with_its_contents(make: Make, tmp_path: Path):
    out = tmp_path / "out"
    report = compare.write_comparison([make("02"), make("03", attempt="03")], out)
    assert set(contents(out)) == FILES
    assert {path.relative_to(out).as_posix() for path in report.paths} == FILES
    with (out / "headline.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["attempt"] for row in rows] == ["02", "03", ""]
    assert [row["val_iou"] for row in rows] == ["0.5951", "0.5951", "0.27"]
    lines = (out / "headline.md").read_text().splitlines()
    assert lines[0] == report.caption
    table = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]
    assert table[0] == [
        *("#", "model", "lr", "augmentation", "dropout", "loss (BCE/Dice)", "best epoch", "val IoU", "val F1"),
        *(
            "minutes",
            "trainable (M)",
            "published trainable",
            "published val IoU",
            "published val F1",
            "published test IoU",
            "published test F1",
            "published best epoch",
            "published T4 minutes",
            "changed settings",
        ),
    ]
    dash = "\N{EN DASH}"
    assert table[2] == [
        *("02", "SMP U-Net + ResNet34 (ImageNet)", "0.001", "MEDIUM", "0.3", "0.5/0.5", "2", "0.595", "0.740"),
        *("51.2", "24.4", "24 M", "0.765", "0.865", "0.796", "0.886", "30", "50", dash),
    ]
    assert table[4] == [dash, "trivial: everything is building", *[dash] * 5, "0.270", "0.420", *[dash] * 10]
    assert (out / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_write_comparison_gives_the_same_bytes_again(make: Make, tmp_path: Path):
    folders = [make("02"), make("03", attempt="03")]
    for name in ("one", "two"):
        compare.write_comparison(folders, tmp_path / name)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


@pytest.mark.parametrize("failing", ["write_bytes", "mkdir"])
def test_write_comparison_leaves_all_old_files_when_a_write_fails(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
):
    folder, out = make(), tmp_path / "out"
    paths = compare.write_comparison([folder], out).paths
    for path in paths:
        path.write_bytes(b"old")
    done: list[Path] = []
    real = getattr(Path, failing)

    def fail_at_last(path: Path, *values: Any, **options: Any) -> Any:
        done.append(path)
        if len(done) == len(paths):
            raise OSError("the disk is full")
        return real(path, *values, **options)

    monkeypatch.setattr(Path, failing, fail_at_last)
    with pytest.raises(OSError, match="the disk is full"):
        compare.write_comparison([folder], out)
    assert contents(out) == dict.fromkeys(FILES, b"old")


@pytest.mark.parametrize(("num_attempts", "num_columns"), [(1, 3), (2, 4), (3, 3), (5, 4)])
def test_grid_shows_image_truth_and_predictions_in_order(make: Make, num_attempts: int, num_columns: int):
    folders = [make(str(number), overlay=OVERLAYS[number], attempt=str(number)) for number in range(num_attempts)]
    sheet = pixels(compare.tile_grid(read_attempts(folders), "austin1"))
    places = [place(sheet, colour) for colour in (IMAGE, TRUTH, *OVERLAYS[:num_attempts])]
    assert {(width, height) for _, _, width, height in places} == {(512, 512)}  # 64 px, 8 times
    lefts, tops = sorted({left for left, *_ in places}), sorted({top for _, top, *_ in places})
    assert len(lefts) == num_columns
    assert [(lefts.index(left), tops.index(top)) for left, top, *_ in places] == [
        (number % num_columns, number // num_columns) for number in range(num_attempts + 2)
    ]
    assert sheet.shape[1] - (lefts[-1] + 512) == lefts[0]


def test_grid_enlarges_without_smoothing(make: Make):
    folder = make()
    halves = np.repeat(np.array([[[20, 20, 20]] * 32 + [[230, 230, 230]] * 32], np.uint8), 64, axis=0)
    Image.fromarray(halves).save(picture(folder, "overlays", "austin1"), quality=95)
    sheet = pixels(compare.tile_grid(read_attempts([folder]), "austin1"))
    left, top, width, _ = place(sheet, TRUTH)
    start = left + (left - place(sheet, IMAGE)[0])
    row = sheet[top + 100, start : start + width, 0]
    assert np.abs(row[:256] - 20).max() <= 12
    assert np.abs(row[256:] - 230).max() <= 12


def test_grid_shrinks_large_tiles_by_averaging(make: Make):
    folder = make(size=(1024, 512))
    stripes = np.zeros((512, 1024, 3), np.uint8)
    stripes[:, 1::2] = 200
    Image.fromarray(stripes).save(picture(folder, "overlays", "austin1"), quality=100, subsampling=0)
    sheet = pixels(compare.tile_grid(read_attempts([folder]), "austin1"))
    assert place(sheet, IMAGE)[2:] == (512, 256)
    assert place(sheet, (100, 100, 100))[2:] == (512, 256)


@pytest.mark.parametrize("width", [450, 512, 640])
def test_grid_shows_tiles_of_a_good_size_as_they_are(make: Make, width: int):
    sheet = pixels(compare.tile_grid(read_attempts([make(size=(width, 460))]), "austin1"))
    assert place(sheet, OVERLAYS[0])[2:] == (width, 460)


def captions(folders: list[Path], tile: str, monkeypatch: pytest.MonkeyPatch) -> tuple[str, list[tuple[str, str]]]:
    """The title of a grid, and what its panels are called and score."""
    drawn: list[Any] = []
    monkeypatch.setattr(compare, "grid", lambda *given: drawn.extend(given) or b"")
    compare.tile_grid(read_attempts(folders), tile)
    title, panels = drawn
    return title, [(panel.name, panel.score) for panel in panels]


def test_grid_is_captioned_with_number_label_and_the_tiles_own_iou(make: Make, monkeypatch: pytest.MonkeyPatch):
    folders = [
        make("05", attempt="05", label="sam_conv (small random encoder)", summary={"tile_iou": TILES | {"austin2": 1}}),
        make("02", smoke=True),
    ]
    assert captions(folders, "austin2", monkeypatch) == (
        "austin2",
        [
            ("image", ""),
            ("truth", ""),
            ("05 sam_conv (small random encoder)", "IoU 1.00"),
            ("02 unet_resnet34 (smoke)", "IoU 0.48"),
        ],
    )


def test_grid_says_where_no_pixel_of_a_tile_counts(make: Make, monkeypatch: pytest.MonkeyPatch):
    folder = make("02", summary={"tile_iou": TILES | {"austin2": None}})
    assert captions([folder], "austin2", monkeypatch)[1][-1] == ("02 unet_resnet34", "no pixel counts here")


def test_namesakes_are_told_apart_by_the_end_of_their_folders_paths(make: Make, monkeypatch: pytest.MonkeyPatch):
    folders = [make("a/seed1"), make("a/seed2"), make("b/seed1"), make("03", attempt="03")]
    names = [name for name, _ in captions(folders, "austin1", monkeypatch)[1][2:]]
    assert names == [
        "02 unet_resnet34 [a/seed1]",
        "02 unet_resnet34 [seed2]",
        "02 unet_resnet34 [b/seed1]",
        "03 unet_resnet34",
    ]
    assert compare.headline(read_attempts(folders))["model"][1] == "SMP U-Net + ResNet34 (ImageNet) [seed2]"


@pytest.mark.parametrize("label", ["a label of many words " * 6, "a_label_without_spaces" * 8, "x" * 150])
def test_grid_keeps_long_captions_below_their_own_panel(make: Make, label: str):
    folder = make(label=label)
    sheet = pixels(compare.tile_grid(read_attempts([folder, make("03", attempt="03", overlay=OVERLAYS[1])]), "austin1"))
    left, top, width, height = place(sheet, OVERLAYS[0])
    following = place(sheet, OVERLAYS[1])[0]
    ink = np.flatnonzero((sheet[top + height + 2 :] < 128).all(axis=2).any(axis=0))
    mine = ink[(ink >= left) & (ink < following)]
    assert left <= mine.min()
    assert mine.max() < left + width
    margin = sheet[-16:]
    assert margin.min() > 240


def lines(figure: Figure) -> list[Any]:
    return list(figure.axes[0].lines)


def test_curves_draw_each_attempt_its_best_epoch_and_the_trivial_predictor(make: Make):
    folders = [make("02"), make("03", attempt="03", smoke=True, history=(0.2, 0.1, 0.4, 0.6))]
    figure = compare.curves(read_attempts(folders))
    first, first_best, second, second_best, trivial = lines(figure)
    assert [list(first.get_xdata()), list(first.get_ydata())] == [[1, 2, 3], [0.31, 0.5951, 0.55]]
    assert list(second.get_ydata()) == [0.2, 0.1, 0.4, 0.6]
    assert [(line.get_xdata()[0], line.get_ydata()[0]) for line in (first_best, second_best)] == [(2, 0.5951), (4, 0.6)]
    for number, pair in enumerate([(first, first_best), (second, second_best)]):
        assert [to_hex(line.get_color()).upper() for line in pair] == [figures.COLOURS[number]] * 2
        assert [line.get_marker() for line in pair] == [figures.MARKERS[number]] * 2
    assert (trivial.get_linestyle(), list(trivial.get_ydata())) == ("--", [0.27, 0.27])
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [
        "02 unet_resnet34: 0.595 (2)",
        "03 unet_resnet34 (smoke): 0.600 (4)",
        "trivial: everything is building: 0.270",
        "the best epoch",
    ]


def test_curves_draw_an_attempt_of_one_epoch(make: Make):
    assert list(lines(compare.curves(read_attempts([make(history=(0.3,))])))[0].get_ydata()) == [0.3]


def test_default_folder_lies_beside_the_first_attempt(make: Make, monkeypatch: pytest.MonkeyPatch):
    folder, other = make("02"), make("elsewhere/03", attempt="03")
    monkeypatch.chdir(folder)
    assert compare.main([".", str(other)]) == 0
    assert set(contents(folder.parent / "compare")) == FILES


@pytest.mark.parametrize("width", [45, 80, 120, 250])
def test_headline_fits_the_terminal(make: Make, tmp_path: Path, width: int):
    report = compare.write_comparison([make()], tmp_path / "out")
    console = Console(width=width, file=io.StringIO())
    compare.show(report, console)
    said = console.file.getvalue().splitlines()
    start = next(index for index, line in enumerate(said) if set(line.strip()) == {"─"})
    assert max(len(line) for line in said[start : start + 3]) <= width
    assert any("0.595" in line for line in said[start : start + 6])
    hidden = re.search(r"(\d+) more\s+columns", "\n".join(said))
    assert (hidden is None) == (width == 250)


def test_command_prints_the_table_and_the_paths(make: Make):
    folder = make()
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "analysis.compare", str(folder)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("Attempts on the data patches: 24 labelled tiles, 2 val tiles.")
    out = folder.parent / "compare"
    assert {line for line in done.stdout.splitlines() if line.startswith(str(out))} == {
        str(out / name) for name in FILES
    }
