"""Formats: the files that a network is exported to.

A new format is one file and one line in `FORMATS`; nothing heavy is imported before a file is written or counted.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from sparsemark.errors import UnsupportedError
from sparsemark.files import content_hash, note_of, read_note, write_atomically
from sparsemark.formats import dense
from sparsemark.formats.base import Artifact, Format, Quantiser, Weights
from sparsemark.machine.at_work import at_work
from sparsemark.registry import find, missing

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from sparsemark.networks.reference import Batch
    from sparsemark.networks.source import Source


def _export_csr(source: Source, path: Path) -> None:
    # Here, as in those below: a program that runs a CSR file starts without what writes and counts one.
    from sparsemark.formats.csr.export import export

    export(source, path)


def _count_csr(path: Path) -> Weights:
    from sparsemark.formats.csr.counting import count

    return count(path)


def _export_onnx(source: Source, path: Path) -> None:
    from sparsemark.formats.onnx import export

    export(source, path)


def _count_onnx(path: Path) -> Weights:
    from sparsemark.formats.onnx import count

    return count(path)


def _quantise_onnx(path: Path, target: Path, batches: Sequence[Batch]) -> None:
    from sparsemark.formats.onnx_int8 import quantise

    quantise(path, target, batches)


def _notes_on_int8() -> tuple[str, ...]:
    from sparsemark.formats.onnx_int8 import notes

    return notes()


FORMATS: dict[str, Format] = {
    "dense": Format(".safetensors", dense.export, dense.count),
    "csr": Format(".csr", _export_csr, _count_csr, requires=("onnx", "onnxscript"), made_from="onnx"),
    "onnx": Format(
        ".onnx",
        _export_onnx,
        _count_onnx,
        requires=("onnx", "onnxscript"),
        quantiser=Quantiser(_quantise_onnx, _notes_on_int8, requires=("onnx", "onnxruntime")),
    ),
}


def export(source: Source, name: str, stem: Path) -> Artifact:
    """Export a network, unless the file is there already and whole.

    Beside it stands a file with its digest and what was counted in it, so that neither is done again.

    Args:
        source: the network, or the artifact of the format that this one is made from.
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
    with at_work(f"exporting to {name}"):
        return _made(name, stem, lambda path: form.export(source, path))


def quantiser_of(name: str) -> Quantiser:
    """Return what makes the int8 form of a format, or of the format that it is converted from.

    Raises:
        UserError: the format is not known.
        UnsupportedError: it has no int8 form, or what makes it is not installed.
    """
    form = find(name, FORMATS, "format")
    quantiser = form.quantiser or (quantiser_of(form.made_from) if form.made_from else None)
    if quantiser is None:
        raise UnsupportedError(f"{name} files have no int8 form here")
    absent = missing(quantiser.requires)
    if absent:
        raise UnsupportedError(absent)
    return quantiser


def quantise(artifact: Artifact, stem: Path, batches: Sequence[Batch]) -> Artifact:
    """Quantise an artifact to int8, unless the file is there already and whole.

    Args:
        artifact: in float32.
        stem: path of the new file without its suffix; must name all that decides its content.
        batches: inputs that the ranges of activations are taken from.

    Raises:
        UserError: the disk is full.
        UnsupportedError: as `quantiser_of`, or the network cannot be quantised.
    """
    quantiser = quantiser_of(artifact.format)
    return _made(artifact.format, stem, lambda path: quantiser.write(artifact.path, path, batches))


def _made(name: str, stem: Path, write: Callable[[Path], None]) -> Artifact:
    form = find(name, FORMATS, "format")
    path = stem.with_name(stem.name + form.suffix)
    note = path.with_name(f"{path.name}.json")
    known = _known(path, name, note)
    if known is not None:
        return known
    write(path)
    artifact = Artifact(path, name, content_hash(path), form.count(path), path.stat().st_size)
    write_atomically(note, note_of({"sha256": artifact.sha256, "weights": asdict(artifact.weights)}))
    return artifact


def _known(path: Path, name: str, note: Path) -> Artifact | None:
    """Return the artifact of an earlier export; None where there is none, or its file is no longer what was written."""
    described = read_note(note)
    if described is None:
        return None
    try:
        sha256, weights = described["sha256"], Weights(**described["weights"])
        if content_hash(path) != sha256:
            return None
        return Artifact(path, name, sha256, weights, path.stat().st_size)
    except (OSError, KeyError, TypeError):
        return None
