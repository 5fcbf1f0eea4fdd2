"""Fills the templates in `web/`: pages that load nothing from a network and run no script but their own."""

import base64
import functools
import hashlib
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

_WEB = Path(__file__).parent / "web"


def render_page(template: str, script: str, *, picture_sources: str = "data:", **values: Any) -> str:
    """Returns a page of HTML with its style and its script in it.

    Args:
        template: Name of a file in `web/`.
        script: As well; no other script may run, not even one that a text of the page would bring with it.
        picture_sources: Where pictures may come from, in the words of a Content-Security-Policy.
        values: What the template shows.
    """
    style, code = ((_WEB / name).read_text("utf-8") for name in ("style.css", script))
    digest = base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; img-src {picture_sources}; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; "
        "base-uri 'none'; form-action 'none'"
    )
    return _templates().get_template(template).render(policy=policy, style=Markup(style), script=Markup(code), **values)


@functools.cache
def _templates() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(_WEB),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
