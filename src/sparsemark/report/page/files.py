"""Files of a page put together: template, style, scripts, and the policy by which these scripts alone run."""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sparsemark.report.page import library
from sparsemark.report.page.glossary import GLOSSARY

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from jinja2 import Environment

    from sparsemark.report.page.colours import Colour

_TEMPLATES = Path(__file__).parent / "templates"


def written(template: str, data: Mapping[str, Any] | None, colours: Mapping[str, Colour], **values: Any) -> str:
    """Return a page.

    Args:
        template: its file.
        data: for the page's script; None where no charting library is installed, which leaves the script out too.
        colours: of the engines, in the order of their numbers.
        **values: of the template.
    """
    scripts = [] if data is None else [library.vega_bundle(), _file("page.js")]
    return (
        _environment()
        .get_template(template)
        .render(
            is_interactive=data is not None,
            data=data,
            scripts=scripts,
            digests=[digest(script) for script in scripts],
            style=_style(colours.values()),
            glossary=GLOSSARY,
            **values,
        )
    )


def digest(script: str) -> str:
    """Return the hash by which the page's policy allows a script: nothing else runs in it."""
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


@cache
def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    return Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def _file(name: str) -> str:
    return (_TEMPLATES / name).read_text(encoding="utf-8")


def _style(colours: Iterable[Colour]) -> str:
    found = list(colours)
    light = " ".join(f"--e{n}: {colour.light};" for n, colour in enumerate(found))
    dark = " ".join(f"--e{n}: {colour.dark};" for n, colour in enumerate(found))
    return _file("page.css").replace("{{ light }}", light).replace("{{ dark }}", dark)
