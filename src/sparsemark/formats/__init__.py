"""The files a network is exported to.

A new format is one file and one line in `FORMATS`; nothing heavy is imported before a file is written or counted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sparsemark.errors import UnsupportedError
from sparsemark.formats import dense
from sparsemark.formats import onnx as onnx_file
from sparsemark.formats.base import Artifact, Format, Source
from sparsemark.formats.csr import export as csr_export
from sparsemark.formats.csr import graph as csr
from sparsemark.registry import find, missing

if TYPE_CHECKING:
    from pathlib import Path

FORMATS: dict[str, Format] = {
    "dense": Format(".safetensors", dense.export, dense.count),
    "csr": Format(".csr", csr_export.export, csr.count, requires=("onnx", "onnxscript")),
    "onnx": Format(".onnx", onnx_file.export, onnx_file.count, requires=("onnx", "onnxscript")),
}


def export(source: Source, name: str, stem: Path) -> Artifact:
    """Export a variant, unless the file is there already.

    Args:
        source: the variant.
        name: a format of `FORMATS`.
        stem: path of the file without its suffix; must name the source's content, since an existing file is taken as it
            is.

    Raises:
        UserError: the format is not known, or the disk is full.
        UnsupportedError: the format cannot express this network, or something it needs is not installed.
    """
    form = find(name, FORMATS, "format")
    absent = missing(form.requires)
    if absent:
        raise UnsupportedError(absent)
    path = stem.with_name(stem.name + form.suffix)
    if not path.exists():
        form.export(source, path)
    return Artifact(path, name, form.count(path))
