"""Opens a report in headless Chromium and uses it as a person would, with the mouse and with the keyboard."""

import csv
import io
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from PIL import Image
from playwright.sync_api import Browser, Page

from analysis.figures.drawing import render
from analysis.report import page as pages
from analysis.report.document import Document, FigureBlock, PicturesBlock, Prediction, Section, TableBlock, TextBlock

ARMS = ["sam_conv", "unet", "unet_resnet34", "deeplabv3plus_r50", "unet_resnet50"]
IOUS = [0.9, None, 0.10000001, 0.1, 0.25]  # two that look the same at three digits
BEFORE, AFTER = (200, 40, 40), (40, 40, 200)


def picture(colour: tuple[int, int, int]) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (400, 300), colour).save(buffer, "PNG")
    return buffer.getvalue()


def drawing() -> str:
    figure = Figure(figsize=(9, 4))
    figure.subplots().plot([5, 12, 24], [0.5, 0.6, 0.7], color="#0072B2", marker="o")
    return render(figure, "svg").decode()


def report() -> Document:
    by_arm = pd.DataFrame(
        {"#": [1, 2, 3, 4, 5], "architecture": ARMS, "test_iou": IOUS, "seeds": [2, 10, 2, 10, 1]}
        | {"interval": ["0.9 [0.8, 1.0]", "–", "0.1 [0.0, 0.2]", "n = 1", "0.25 [0.1, 0.3]"]}
        | {f"column_{number}": np.linspace(0, 1, 5) for number in range(10)}
        | {"in_words": ['Says "no", or rather: it cannot be told from the data, which are few.'] * 5}
    )
    blocks = (
        TextBlock(("A paragraph.",)),
        TableBlock("by_arm", "By arm", "A caption that is a little longer. " * 4, by_arm, ("A note.",)),
        FigureBlock("curves", "Curves", "A caption.", drawing(), "A line that rises."),
        FigureBlock("costs", "Costs", "A caption.", drawing(), "A line that rises."),
        PicturesBlock(
            "overlays",
            "Overlays",
            "A caption.",
            picture((90, 90, 90)),
            picture(BEFORE),
            tuple(
                Prediction(name, f"IoU {iou}", picture(AFTER)) for name, iou in (("unet", "0.50"), ("sam_conv", "0.40"))
            ),
        ),
    )
    return Document(
        title="Which architecture to trust with few tiles?",
        subtitle="Three phases",
        conclusions=("The first sentence.", "The second sentence.", "The third sentence."),
        warnings=("3 trials failed.",),
        sections=(Section("Results", blocks, "An introduction."), Section("More", (TextBlock(("Words.",)),))),
        footer=("Made by Fewtile.",),
    )


@pytest.fixture(scope="module")
def path(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(pages.html(report()), "utf-8")
    return path


@pytest.fixture
def visit(browser: Browser, path: Path):
    """Opens the report in a window of its own, and checks in the end that it was quiet and asked for nothing else."""
    contexts, complaints, addresses = [], [], []

    def open_page(width: int = 1280, scheme: str = "light", **options) -> Page:
        context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme, **options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(10_000)
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: addresses.append(request.url))
        page.route("**/*", lambda route: route.continue_() if route.request.url == path.as_uri() else route.abort())
        page.goto(path.as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []
    assert {address for address in addresses if not address.startswith(("data:", "blob:"))} == {path.as_uri()}


def arms(page: Page) -> list[str]:
    return page.locator("#by_arm tbody th").all_inner_texts()


def header(page: Page, name: str):
    return page.locator("#by_arm thead th", has=page.get_by_role("button", name=name, exact=True))


def split(page: Page) -> float:
    """Returns the share of the first slider's width that shows the picture "before", in percent."""
    clip = page.locator(".compare img + img").first.evaluate("image => getComputedStyle(image).clipPath")
    return float(re.fullmatch(r"inset\(0px 0px 0px ([\d.]+)%\)", clip)[1])


def colour(page: Page, share_x: float) -> tuple[int, ...]:
    """Returns the colour that the first comparison shows at that share of its width, near its upper edge."""
    shot = Image.open(io.BytesIO(page.locator(".compare").first.screenshot())).convert("RGB")
    return shot.getpixel((round(share_x * shot.width), shot.height // 8))


def test_tables_are_sorted_by_value_or_leading_number_with_missing_values_last(visit):
    page = visit()
    ascending = ["deeplabv3plus_r50", "unet_resnet34", "unet_resnet50", "sam_conv", "unet"]
    for name, sort, expected in (
        ("test IoU", "ascending", ascending),
        ("test IoU", "descending", [*ascending[3::-1], "unet"]),
        ("test IoU", None, ARMS),
        ("seeds", "ascending", ["unet_resnet50", "sam_conv", "unet_resnet34", "unet", "deeplabv3plus_r50"]),
        ("seeds", "descending", ["unet", "deeplabv3plus_r50", "sam_conv", "unet_resnet34", "unet_resnet50"]),
        ("interval", "ascending", ["unet_resnet34", "unet_resnet50", "sam_conv", "unet", "deeplabv3plus_r50"]),
    ):  # equal rows keep their order both ways
        page.get_by_role("button", name=name).click()
        assert arms(page) == expected, (name, sort)
        assert header(page, name).get_attribute("aria-sort") == sort


def test_keyboard_skips_to_the_conclusions_and_sorts_by_one_column_at_a_time(visit):
    page = visit()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    assert page.locator(".skip").bounding_box()["y"] >= 0
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "Conclusions"
    page.get_by_role("button", name="#").focus()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert arms(page) == sorted(ARMS)
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    assert arms(page)[0] == "deeplabv3plus_r50"
    assert page.locator("[aria-sort]").count() == 1


def test_tables_are_saved_as_csv_with_raw_values_and_sliders_move_by_keyboard(visit):
    page = visit()
    with page.expect_download() as download:
        page.get_by_role("button", name="Download Table 1 as CSV").click()
    assert download.value.suggested_filename == "by_arm.csv"
    rows = list(csv.reader(io.StringIO(Path(download.value.path()).read_text("utf-8"))))
    assert rows[0][:5] == ["#", "architecture", "test IoU", "seeds", "interval"]
    assert [row[2] for row in rows[1:]] == ["0.9", "", "0.10000001", "0.1", "0.25"]
    assert rows[1][4] == "0.9 [0.8, 1.0]"
    assert rows[1][-1].startswith('Says "no", or')
    slider = page.get_by_role("slider").first
    assert split(page) == 0
    slider.focus()
    for key, share in (("ArrowRight", 1), ("ArrowRight", 2), ("ArrowLeft", 1), ("End", 100), ("Home", 0), ("End", 100)):
        page.keyboard.press(key)
        assert split(page) == share
    assert slider.get_attribute("aria-valuetext") == "100 % truth, 0 % prediction"
    assert "unet" in slider.get_attribute("aria-label")


@pytest.mark.parametrize("width", [1280, 390])
def test_slider_shows_truth_at_its_left_and_prediction_at_its_right(visit, width):
    page = visit(width)
    compare = page.locator(".compare").first
    compare.scroll_into_view_if_needed()
    assert (colour(page, 0.3), colour(page, 0.7)) == (AFTER, AFTER)
    box = compare.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.2, box["y"] + box["height"] / 2, steps=4)
    page.mouse.up()
    assert split(page) == pytest.approx(20, abs=1)
    assert (colour(page, 0.1), colour(page, 0.3)) == (BEFORE, AFTER)
    page.mouse.click(box["x"] + box["width"] * 0.9, box["y"] + box["height"] / 2)
    assert split(page) == pytest.approx(90, abs=1)
    assert colour(page, 0.7) == BEFORE


def test_slider_follows_a_finger(visit):
    page = visit(390, has_touch=True, is_mobile=True)
    compare = page.locator(".compare").first
    compare.scroll_into_view_if_needed()
    box = compare.bounding_box()
    page.touchscreen.tap(box["x"] + box["width"] * 0.25, box["y"] + box["height"] / 2)
    assert split(page) == pytest.approx(25, abs=1)


def paper(page: Page) -> str:
    return page.evaluate("getComputedStyle(document.body).backgroundColor")


def test_theme_follows_the_system_until_one_is_chosen_and_is_remembered(visit):
    page = visit(scheme="dark")
    dark = paper(page)
    page.get_by_role("button", name="Light theme").focus()
    page.keyboard.press("Enter")
    light = paper(page)
    assert (light, dark) == ("rgb(255, 255, 255)", "rgb(21, 23, 26)")
    page.reload()
    assert paper(page) == light
    page.get_by_role("button", name="Dark theme").click()
    assert paper(page) == dark
    assert paper(visit(scheme="light")) == light


@pytest.mark.parametrize("width", [1280, 390])
def test_page_does_not_scroll_sideways_but_wide_tables_and_drawings_do(visit, width):
    page = visit(width)
    assert page.evaluate("document.documentElement.scrollWidth") == width
    page.evaluate("scrollTo(9999, 0)")
    assert page.evaluate("scrollX") == 0
    scroller = page.locator("#by_arm .scroller")
    scroller.focus()
    page.evaluate("() => new Promise(requestAnimationFrame)")
    assert scroller.evaluate("box => box === document.activeElement && box.scrollWidth > box.clientWidth")
    names = page.locator("#by_arm tbody th").first
    scroller.evaluate("box => box.scrollTo(9999, 0)")
    assert names.bounding_box()["x"] == pytest.approx(scroller.bounding_box()["x"], abs=1)


SELECTORS = (
    *("h1", ".subtitle", ".conclusions p", ".warnings li", "nav a", "h3 .label", "figcaption p", "td", "tbody th"),
    *("thead button", "[data-missing]", ".notes li", ".quiet", ".scene", "footer p"),
)


@pytest.mark.parametrize(("scheme", "ink"), [("light", "rgb(26, 26, 26)"), ("dark", "rgb(230, 229, 225)")])
def test_text_has_enough_contrast_and_drawings_take_the_colours_of_the_theme(visit, scheme, ink):
    page = visit(scheme=scheme)
    svg = page.locator("#curves svg")
    assert svg.evaluate("svg => getComputedStyle(svg).fill") == ink
    assert svg.locator("path[style*='#0072b2']").count() > 0
    # The colours as painted: text of each kind against the nearest background that is not transparent.
    pairs = page.evaluate(
        """(selectors) => selectors.map(selector => {
          let element = document.querySelector(selector);
          const text = getComputedStyle(element).color;
          const isClear = () => getComputedStyle(element).backgroundColor === "rgba(0, 0, 0, 0)";
          while (isClear()) element = element.parentElement;
          return [selector, text, getComputedStyle(element).backgroundColor];
        })""",
        SELECTORS,
    )

    def luminance(colour: str) -> float:
        # Source: WCAG 2.2, relative luminance, https://www.w3.org/TR/WCAG22/#dfn-relative-luminance
        shares = np.array([int(part) for part in re.findall(r"\d+", colour)[:3]]) / 255
        linear = np.where(shares <= 0.04045, shares / 12.92, ((shares + 0.055) / 1.055) ** 2.4)
        return float(linear @ [0.2126, 0.7152, 0.0722])

    assert len(pairs) == len(SELECTORS)
    for selector, text, ground in pairs:
        dark, light = sorted([luminance(text), luminance(ground)])
        assert (light + 0.05) / (dark + 0.05) >= 4.5, selector


def test_print_is_light_and_has_no_buttons_and_shows_both_pictures(visit):
    page = visit(680, scheme="dark")
    page.get_by_role("button", name="Light theme").click()
    page.get_by_role("button", name="Dark theme").click()
    page.emulate_media(media="print")
    assert paper(page) == "rgb(255, 255, 255)"
    assert not any(button.is_visible() for button in page.locator(".quiet, .compare input").all())
    truth, prediction = (page.locator(".panel").nth(place).bounding_box() for place in (1, 2))
    assert truth["y"] < prediction["y"]
    assert page.locator(".compare img + img").first.evaluate("image => getComputedStyle(image).clipPath") == "none"


def test_page_is_complete_without_scripts(visit):
    page = visit(java_script_enabled=False)
    assert arms(page) == ARMS
    assert page.locator("#curves svg").is_visible()
    assert not page.locator("#Theme").is_visible()
