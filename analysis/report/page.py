"""Writes a report as one HTML file that opens from disk, or as Markdown with its pictures beside it."""

import base64
import io
import re
from typing import Any
from xml.etree import ElementTree

import pandas as pd
from markupsafe import Markup
from PIL import Image, UnidentifiedImageError

from analysis.report.document import Block, Document, FigureBlock, PicturesBlock, TableBlock, TextBlock
from analysis.report.web_page import render_page
from analysis.tables import formatting as tables

_MIME = {"PNG": "image/png", "JPEG": "image/jpeg"}
_SUFFIX = {"PNG": "png", "JPEG": "jpg"}
_LONG = 40  # characters; longer cells are broken into lines
_LEADING_NUMBER = re.compile(r"[<>≤≥≈~±]?\s*([-+−]?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?)(?![\w.])")
_HEX = re.compile(r"#[0-9a-fA-F]{6}\b")
_PAINTED = ("style", "fill", "stroke", "stop-color", "color")
_REFERENCE = re.compile(r"url\(#([^)]+)\)")
_MARKDOWN_SIGNS = re.compile(r"[\\`*<~]|(?<!\w)_|_(?!\w)")
_MARKDOWN_STARTS = re.compile(r"^(\d*)([#>+-]|(?<=\d)[.)])(?=\s|$)")


def html(document: Document) -> str:
    """Returns the report as one HTML page that needs no other file and no network.

    Raises:
        ValueError: If a picture is neither PNG nor JPEG, or the two of a pair differ in size.
    """
    labelled = document.labelled()
    sections = [
        {
            "id": f"Section{number}",
            "title": section.title,
            "intro": section.intro,
            "blocks": [_view(*next(labelled)) for _ in section.blocks],
        }
        for number, section in enumerate(document.sections, start=1)
    ]
    return render_page("report.html.j2", "script.js", document=document, sections=sections)


def markdown(document: Document) -> str:
    """Returns the report in Markdown; it shows the pictures that `pictures` names.

    Raises:
        ValueError: As `html`.
    """
    labelled = document.labelled()
    parts = [f"# {_plain(document.title)}", _plain(document.subtitle), *map(_plain, document.conclusions)]
    if document.warnings:
        parts += ["> **Before you rely on this**\n>\n" + "\n".join(f"> - {_plain(text)}" for text in document.warnings)]
    for section in document.sections:
        parts += [f"## {_plain(section.title)}", _plain(section.intro)]
        for _ in section.blocks:
            parts += _markdown_block(*next(labelled))
    if document.footer:
        parts += ["---", *map(_plain, document.footer)]
    return "\n\n".join(part.rstrip("\n") for part in parts if part) + "\n"


def pictures(document: Document) -> dict[str, bytes]:
    """Returns the picture files that `markdown` shows, by their path relative to the report.

    Raises:
        ValueError: As `html`.
    """
    files: dict[str, bytes] = {}
    for _, block in document.labelled():
        if isinstance(block, FigureBlock):
            files[f"figures/{block.name}.svg"] = block.svg.encode()
        elif isinstance(block, PicturesBlock):
            files |= {path: picture for _, path, picture in _pictures(block)}
    return files


def inline_svg(svg: str, name: str, alt: str) -> str:
    """Returns a drawing to stand inside an HTML page, in the colours of the page's theme.

    Ids are prefixed with `name`, because all drawings of a page share one space of ids. Greys, black and white become
    mixtures of the page's ink and paper; other colours stay.

    Args:
        svg: As `analysis.figures.drawing.render` makes it for a white background, with colours such as `#1a2b3c`.
        name: A prefix that no other drawing of the page has.
        alt: Takes the drawing's place for a person who cannot see it.

    Raises:
        ValueError: If it has no `viewBox`, so that its size is unknown.
    """
    root = ElementTree.fromstring(svg)  # drops comments and the document type
    box = root.get("viewBox", "").split()
    if len(box) != 4:
        raise ValueError(f"the drawing {name} has the viewBox {' '.join(box)!r}, but it needs four numbers")
    _drop(root, ("metadata", "style", "script", "title"))
    for element in root.iter():
        element.tag = _local(element.tag)
        element.attrib = {_local(key): value for key, value in element.attrib.items()}
        element.text, element.tail = (text if text and text.strip() else None for text in (element.text, element.tail))
    used = {reference for element in root.iter() for reference in _references(element)}
    for element in root.iter():
        for key, value in list(element.attrib.items()):
            if key == "id" and value not in used:
                del element.attrib[key]
            elif key == "id":
                element.set(key, f"{name}__{value}")
            elif key == "href" and value.startswith("#"):
                element.set(key, f"#{name}__{value[1:]}")
            elif key in _PAINTED or "url(" in value:
                painted = _HEX.sub(lambda match: _themed(match[0]), value) if key in _PAINTED else value
                element.set(key, _REFERENCE.sub(rf"url(#{name}__\1)", painted))
    width, height = (float(side) * 4 / 3 for side in box[2:])  # matplotlib draws in points, 3/4 of a CSS pixel
    root.attrib = {
        "viewBox": " ".join(box),
        "width": f"{width:.0f}",
        "height": f"{height:.0f}",
        "style": f"--width: {width:.0f}",
        "role": "img",
        "aria-label": alt,
    }
    return ElementTree.tostring(root, encoding="unicode")


def _view(label: str, block: Block) -> dict[str, Any]:
    """Returns a block as the template wants it."""
    if isinstance(block, TextBlock):
        return {"kind": "text", "paragraphs": block.paragraphs}
    view: dict[str, Any] = {"label": label, "name": block.name, "title": block.title, "caption": block.caption}
    if isinstance(block, TableBlock):
        return view | {"kind": "table", "notes": block.notes} | _table_view(block.frame)
    if isinstance(block, FigureBlock):
        return view | {"kind": "figure", "svg": Markup(inline_svg(block.svg, block.name, block.alt))}
    panels = [_panel_view(block.name, label, picture) for label, _, picture in _pictures(block)]
    sizes = {(panel["width"], panel["height"]) for panel in panels}
    if len(sizes) > 1:
        both = " and ".join(f"{width} x {height} px" for width, height in sorted(sizes))
        raise ValueError(f"{block.name}: pictures of {both} are laid over each other: make them the same size")
    return view | {"kind": "pictures", "panels": panels, "legend": block.legend}


def _table_view(frame: pd.DataFrame) -> dict[str, Any]:
    """Returns a table's columns and rows; the first column of text names the rows and stays in sight."""
    is_number = tables.numeric(frame)
    name = is_number.index(False) if False in is_number else 0
    texts = tables.cells(frame)
    missing = [[text in ("", tables.MISSING) for text in row] for row in texts]
    columns, values = [], []
    for place, column in enumerate(frame.columns):
        shown = [row[place] for row in texts]
        absent = [row[place] for row in missing]
        numbers = _raw(frame[column]) if is_number[place] else _leading_numbers(shown, absent)
        kind = "number" if is_number[place] else "leading" if numbers else "text"
        classes = " ".join(["number"] * is_number[place] + ["name"] * (place == name))
        columns.append({"heading": tables.heading(str(column)), "type": kind, "classes": classes})
        values.append(numbers or [""] * len(shown))
    rows = [
        [
            {
                "tag": "th" if place == name else "td",
                "classes": (columns[place]["classes"] + " long" * (len(text) > _LONG)).strip(),
                "value": "" if missing[line][place] else values[place][line],
                "missing": missing[line][place],
                "text": f"−{text[1:]}" if is_number[place] and text.startswith("-") else text,
            }
            for place, text in enumerate(row)
        ]
        for line, row in enumerate(texts)
    ]
    return {"columns": columns, "rows": rows}


def _raw(column: "pd.Series[Any]") -> list[str]:
    """Returns numbers as JavaScript reads them."""
    return ["" if pd.isna(value) else repr(float(value)).replace("inf", "Infinity") for value in column]


def _leading_numbers(texts: list[str], missing: list[bool]) -> list[str]:
    """Returns the number that each text begins with, as in "0.61 … 0.66", or nothing where some has none.

    Those without a value have none either, nor has "n = 1", which stands where there can be no interval.
    """
    matches = [_LEADING_NUMBER.match(text) for text in texts]
    without = [absent or text.startswith("n = ") for absent, text in zip(missing, texts, strict=True)]
    if all(without) or not all(match or absent for match, absent in zip(matches, without, strict=True)):
        return []
    return [match[1].replace("−", "-") if match else "" for match in matches]


def _pictures(block: PicturesBlock) -> list[tuple[str, str, bytes]]:
    """Returns the label, the path and the content of each picture of a block, in reading order."""
    pictures = [(label, its) for label, its in (("image", block.image), ("truth", block.truth)) if its is not None]
    pictures += [(prediction.label, prediction.picture) for prediction in block.predictions]
    return [
        (label, f"figures/{block.name}-{number}.{_SUFFIX[_kind(picture)]}", picture)
        for number, (label, picture) in enumerate(pictures, start=1)
    ]


def _panel_view(name: str, label: str, picture: bytes) -> dict[str, Any]:
    width, height = _opened(picture).size
    address = f"data:{_MIME[_kind(picture)]};base64,{base64.b64encode(picture).decode()}"
    alt = f"{name}: {label}"
    return {"address": address, "width": width, "height": height, "label": label, "alt": alt}


def _opened(data: bytes) -> Image.Image:
    try:
        return Image.open(io.BytesIO(data), formats=tuple(_MIME))
    except UnidentifiedImageError:
        raise ValueError(f"a picture begins with {data[:8]!r}, but it must be a PNG or JPEG file") from None


def _kind(data: bytes) -> str:
    kind = _opened(data).format
    assert kind in _MIME
    return kind


def _drop(element: ElementTree.Element, names: tuple[str, ...]) -> None:
    """Removes the elements of those names below `element`."""
    for child in list(element):
        if _local(child.tag) in names:
            element.remove(child)
        else:
            _drop(child, names)


def _local(name: str) -> str:
    """Returns a name without its namespace, which HTML knows by itself."""
    return name.rpartition("}")[2]


def _references(element: ElementTree.Element) -> list[str]:
    """Returns the ids that an element's attributes refer to."""
    ids = [reference for value in element.attrib.values() for reference in _REFERENCE.findall(value)]
    href = element.get("href", "")
    return [*ids, href[1:]] if href.startswith("#") else ids


def _themed(colour: str) -> str:
    """Returns a grey as a mixture of the page's ink and paper, and any other colour as it is."""
    red, green, blue = (int(colour[place : place + 2], 16) for place in (1, 3, 5))
    if max(red, green, blue) - min(red, green, blue) > 3:
        return colour
    share = round(100 * (1 - (red + green + blue) / 3 / 255))
    if share in (0, 100):
        return "var(--ink)" if share else "var(--paper)"
    return f"color-mix(in srgb, var(--ink) {share}%, var(--paper))"


def _markdown_block(label: str, block: Block) -> list[str]:
    if isinstance(block, TextBlock):
        return [_plain(paragraph) for paragraph in block.paragraphs]
    caption = f"**{label}. {_plain(block.title)}.** {_plain(block.caption)}"
    if isinstance(block, TableBlock):
        return [tables.markdown(block.frame, caption), "\n".join(f"- {_plain(note)}" for note in block.notes)]
    if isinstance(block, FigureBlock):
        alt = _plain(block.alt).replace("[", "\\[").replace("]", "\\]")
        return [caption, f"![{alt}](figures/{block.name}.svg)"]
    panels = [(label.replace("|", "\\|"), f"![]({path})") for label, path, _ in _pictures(block)]
    rows = [[label for label, _ in panels], ["---"] * len(panels), [picture for _, picture in panels]]
    return [caption, "\n".join(f"| {' | '.join(row)} |" for row in rows) if panels else ""]


def _plain(text: str) -> str:
    """Returns a text such that Markdown shows it as it is."""
    line = " ".join(text.split())
    return _MARKDOWN_STARTS.sub(r"\1\\\2", _MARKDOWN_SIGNS.sub(r"\\\g<0>", line))
