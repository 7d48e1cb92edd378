"""Charting library of the page: Vega, from the bundle that vl-convert brings.

Bundling takes seconds, so the bundle is kept in the user's cache. No copy of it belongs to this repository.
"""

from __future__ import annotations

import contextlib
import importlib.util
import re

from sparsemark import paths
from sparsemark.errors import UserError
from sparsemark.files import read_own, write_privately

INSTALL = "pip install 'sparsemark[page]'"

_SNIPPET = (
    'import {{parse, View}} from "https://cdn.jsdelivr.net/npm/vega@{version}/+esm"; '
    "window.sparsemarkVega = {{parse, View}};"
)
"""Names that the page uses: the bundler leaves out what they do not need. The address is that of the copy inside the
package; nothing is loaded from it.
"""

_END = re.compile("</(?=script)", re.IGNORECASE)
"""Would end the element that the bundle stands in; within JavaScript's strings `<\\/` is the same."""


def is_installed() -> bool:
    """Return whether charts can be drawn by Vega."""
    return importlib.util.find_spec("vl_convert") is not None


def vega_bundle() -> str:
    """Return Vega as one script for an inline element.

    Raises:
        ImportError: vl-convert is not installed.
    """
    import vl_convert

    version = vl_convert.get_vega_version()
    path, root = paths.vega_bundle(version), paths.user_cache()
    with contextlib.suppress(OSError):  # of another user, or unreadable: bundled again
        kept = read_own(path, root)
        if kept:
            return kept.decode()
    script = _END.sub(r"<\\/", vl_convert.javascript_bundle(_SNIPPET.format(version=version)))
    with contextlib.suppress(UserError):  # a cache that cannot be written only costs time
        write_privately(path, script.encode(), root)
    return script
