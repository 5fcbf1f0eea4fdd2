"""Checks what the page and the Markdown of a report hold, without a browser."""

import base64
import hashlib
import io
import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import pandas as pd
import pytest
from matplotlib.figure import Figure
from PIL import Image

from analysis.figures.drawing import render
from analysis.report import page
from analysis.report.document import Document, FigureBlock, PicturesBlock, Prediction, Section, TableBlock, TextBlock

FRAME = pd.DataFrame(
    {
        "#": [1, 2],
        "architecture": ["unet & <b>", "sam_conv"],
        "test_iou": [0.61234567, None],
        "slope": [-0.5, 0.25],
        "interval": ["0.55 … 0.66", "n = 1"],
    }
)


def picture(kind: str = "PNG", width: int = 8) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (width, 6), "#804020").save(buffer, kind)
    return buffer.getvalue()


def drawing(label: str) -> str:
    figure = Figure(figsize=(3, 2))
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="#0072B2", marker="o", markerfacecolor="white", label=label)
    axes.axhline(0.5, color="#666666", linestyle="--")
    axes.legend()
    return render(figure, "svg").decode()


def document(*blocks, **changes) -> Document:
    texts = {
        "title": "Which <one>?",
        "subtitle": "Phases 1 & 3",
        "conclusions": ("The first.", "The second.", "The third."),
        "warnings": ("3 trials failed.",),
        "footer": ("From 12 runs.",),
    }
    return Document(**(texts | {"sections": (Section("Results", blocks, "An *intro*."),)} | changes))


def everything() -> Document:
    return document(
        TableBlock("by_arm", "By arm", "What it shows.", FRAME, ("– : none.",)),
        FigureBlock("curves", "Curves", "What they show.", drawing("one"), 'A "rising" line.'),
        TextBlock(("A <script>alert(1)</script> paragraph.",)),
        FigureBlock("costs", "Costs", "What they show.", drawing("one"), "A rising line."),
        PicturesBlock(
            "overlays", "Overlays", "Chosen.", picture(), picture("JPEG"), (Prediction("unet", "IoU 0.50", picture()),)
        ),
        TableBlock("tiles", "Tiles", "By tiles.", pd.DataFrame({"architecture": ["unet"], "12": [0.5]})),
    )


class Elements(HTMLParser):
    """Collects the elements of a page and the texts in them."""

    def __init__(self, text: str):
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.texts.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def test_html_reads_every_text_as_text_lets_only_its_own_script_run_and_loads_nothing():
    text = page.html(everything())
    parsed = Elements(text)
    assert "<title>Which &lt;one&gt;?</title>" in text
    assert "A &lt;script&gt;alert(1)&lt;/script&gt; paragraph." in text
    assert "unet &amp; &lt;b&gt;" in text
    assert len(parsed.all("script")) == 1
    (policy,) = [meta["content"] for meta in parsed.all("meta") if meta.get("http-equiv")]
    script = text[text.index("<script>") + len("<script>") : text.index("</script>")]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policy.startswith("default-src 'none'; img-src data:;")
    assert f"script-src 'sha256-{digest}';" in policy
    for _, attributes in parsed.elements:
        assert all((attributes.get(key) or "data:").startswith("data:") for key in ("src", "srcset"))
        assert (attributes.get("href") or "#").startswith(("#", "data:"))
    assert not re.search(r"url\((?!#)|@import", text)


def test_html_numbers_tables_and_figures_has_no_id_twice_and_every_reference_is_there():
    parsed = Elements(page.html(everything()))
    labels = [text for text in parsed.texts if re.fullmatch(r"(Table|Figure) \d", text)]
    assert labels == ["Table 1", "Figure 1", "Figure 2", "Figure 3", "Table 2"]
    elements = parsed.elements
    ids = [attributes["id"] for _, attributes in elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    targets = {attributes["href"] for _, attributes in elements if str(attributes.get("href")).startswith("#")}
    targets |= {f"#{attributes['aria-labelledby']}" for _, attributes in elements if "aria-labelledby" in attributes}
    targets |= {
        found for _, pairs in elements for value in pairs.values() for found in re.findall(r"#[\w-]+(?=\))", str(value))
    }
    assert {target[1:] for target in targets} <= set(ids)
    assert {"by_arm", "curves", "overlays"} < set(ids)
    assert any(target.startswith("#curves__") for target in targets)


def test_html_keeps_raw_values_beside_rounded_ones_and_leaves_out_what_is_empty():
    empty = page.html(document(warnings=(), footer=()))
    assert "Before you rely on this" not in empty
    assert Elements(empty).all("nav") == Elements(empty).all("footer") == []
    text = page.html(document(TableBlock("by_arm", "By arm", "What it shows.", FRAME)))
    assert '<td class="number" data-value="0.61234567">0.612</td>' in text
    assert '<td class="number" data-missing>–</td>' in text
    assert '<td class="number" data-value="-0.5">−0.5</td>' in text
    assert '<td data-value="0.55">0.55 … 0.66</td>' in text
    assert '<th scope="row" class="name">sam_conv</th>' in text
    assert [header["data-type"] for header in Elements(text).all("th") if "data-type" in header] == [
        "number", "text", "number", "number", "leading",
    ]  # fmt: skip


@pytest.mark.parametrize("texts", [["–", "–"], ["n = 1", "–"], ["0.61", "unet"], ["5x", "6x"], ["1.2.3", "1.2.4"]])
def test_html_sorts_a_column_as_text_unless_all_its_cells_begin_with_a_number(texts):
    text = page.html(document(TableBlock("t", "T", "C.", pd.DataFrame({"a": ["x", "y"], "b": texts}))))
    assert [header["data-type"] for header in Elements(text).all("th") if "data-type" in header] == ["text", "text"]


def test_inline_svg_turns_greys_into_ink_and_paper_keeps_colours_brings_no_style_of_its_own_and_is_named():
    svg = page.inline_svg(drawing("one"), "curves", 'A "rising" line.')
    assert not re.search(r"#(000000|ffffff|666666)", svg)
    assert {"var(--ink)", "var(--paper)", "color-mix(in srgb, var(--ink) 60%, var(--paper))"} <= set(
        re.findall(r"(?:fill|stroke): ([^;\"]+)", svg)
    )
    assert "stroke: #0072b2" in svg
    root = ElementTree.fromstring(svg)
    assert {element.tag for element in root.iter()} <= {"svg", "g", "path", "defs", "use", "clipPath", "rect"}
    size = {"viewBox": "0 0 216 144", "width": "288", "height": "192", "style": "--width: 288"}
    assert root.attrib == size | {"role": "img", "aria-label": 'A "rising" line.'}
    with pytest.raises(ValueError, match="needs four numbers"):
        page.inline_svg("<svg/>", "curves", "Alt.")


def test_pictures_are_the_files_that_the_markdown_shows():
    report = everything()
    files = page.pictures(report)
    text = page.markdown(report)
    assert set(re.findall(r"\]\((figures/[^)]+)\)", text)) == set(files)
    names = ("curves.svg", "costs.svg", "overlays-1.png", "overlays-2.jpg", "overlays-3.png")
    assert set(files) == {f"figures/{name}" for name in names}
    assert files["figures/overlays-1.png"] == picture()


def test_markdown_holds_the_report_in_reading_order():
    text = page.markdown(
        document(TableBlock("t", "Tiles", "By tiles.", FRAME[["architecture", "slope"]], ("A note.",)))
    )
    assert text == (
        "# Which \\<one>?\n\nPhases 1 & 3\n\nThe first.\n\nThe second.\n\nThe third.\n\n"
        "> **Before you rely on this**\n>\n> - 3 trials failed.\n\n"
        "## Results\n\nAn \\*intro\\*.\n\n"
        "**Table 1. Tiles.** By tiles.\n\n"
        "| architecture | slope |\n| ------------ | ----: |\n| unet & <b>   |  −0.5 |\n| sam_conv     |  0.25 |\n\n"
        "- A note.\n\n---\n\nFrom 12 runs.\n"
    )


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("val_iou of _one_", "val_iou of \\_one\\_"),
        ("~0.6 to ~0.7", "\\~0.6 to \\~0.7"),
        ("1. so", "1\\. so"),
        ("# so", "\\# so"),
        ("-0.5 is less", "-0.5 is less"),
        ("two\nlines", "two lines"),
    ],
)
def test_markdown_reads_every_text_as_text(text, written):
    assert f"\n\n{written}\n\n" in page.markdown(document(TextBlock((text,))))


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        (picture(width=8), picture(width=9), "8 x 6 px and 9 x 6 px"),
        (picture(), b"GIF89a..", "must be a PNG or JPEG"),
    ],
)
def test_html_refuses_pictures_that_cannot_be_laid_over_each_other(before, after, message):
    block = PicturesBlock("overlays", "Overlays", "Chosen.", before, before, (Prediction("unet", "IoU 0.50", after),))
    with pytest.raises(ValueError, match=message):
        page.html(document(block))


@pytest.mark.parametrize("name", ["", "A", "a b", "a--b", "a__b", "../a", "é"])
def test_document_refuses_a_name_that_is_no_file_stem_or_there_twice(name):
    with pytest.raises(ValueError, match="a name is lower case letters"):
        document(TableBlock(name, "T", "C.", FRAME))
    table = TableBlock("tiles", "T", "C.", FRAME)
    with pytest.raises(ValueError, match="two blocks are called 'tiles'"):
        document(table, table)
