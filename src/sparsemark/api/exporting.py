"""Export a network, pruned or as it is, to the file that a program deploys."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sparsemark.api.subjects import model_of, pruning_of, task_of
from sparsemark.errors import UserError
from sparsemark.files import check_writable, replacing
from sparsemark.formats import FORMATS
from sparsemark.machine.temporary import temporary_folder
from sparsemark.references import is_held, nearest
from sparsemark.specs import DENSE, FP32, Protocol, check_precision
from sparsemark.study.file import EPOCHS, own_study
from sparsemark.study.prepare import Places
from sparsemark.study.run import open_pipeline

if TYPE_CHECKING:
    import os

    from sparsemark.formats.base import Artifact
    from sparsemark.specs import Pruning

_NEEDS_FACTORY = "dense"
"""The format that holds weights alone, which only the network's factory turns into a network again."""


def export(
    network: Any,
    path: str | os.PathLike[str],
    example: Any = None,
    *,
    prune: str | Pruning = DENSE,
    task: Any = None,
    epochs: int = EPOCHS,
    form: str | None = None,
    precision: str = FP32,
) -> Artifact:
    """Export a network to one file, by the same steps as `sparsemark bench`.

    Args:
        network: a `torch.nn.Module`, which is left as it is; `file.py:factory`, `package.module:factory`; or the path
            of an ONNX file.
        path: of the file, whose suffix says the format: `.csr`, `.onnx`, or `.safetensors` for the weights alone.
        example: an input, batch first: a shape for float32, an array, a tensor, or a list of one for each input. None
            for what an ONNX file declares or the task's images have.
        prune: what is taken out first, as after `--prune`, such as "magnitude:0.9"; nothing by default.
        task: file, module or object with a task's functions; with `batches` and `loss` a pruned network is fine-tuned.
        epochs: of fine-tuning in all.
        form: a format of `sparsemark list`; None goes by the suffix.
        precision: `int8` quantises the file, calibrated on the task's training inputs, else on those that it makes
            choices on, else on random ones.

    Returns:
        The file, with its digest, size and the weights that were counted in it.

    Raises:
        UserError: the network, its input, the task or the path is at fault.
        UnsupportedError: the method cannot prune this network, or the format cannot hold it, or not in this precision.
    """
    path = Path(path)
    check_precision(precision)
    form = _format(path, form)
    check_writable(path)
    pruning = pruning_of(prune)
    own = task_of(task)
    with temporary_folder() as work, model_of(network, example, own) as model:
        if form == _NEEDS_FACTORY and is_held(model.reference):
            raise UserError(
                f"{path}: a {form} file holds weights for a factory, and a module has none; expected .csr or .onnx, or "
                "file.py:factory in place of the module"
            )
        study = own_study(model, [pruning], (), Protocol(), epochs)
        pipeline = open_pipeline(study, Places(None, work), task=own)
        artifact = pipeline.export(pipeline.prepare(study.variants[-1]), form, precision)
        with replacing(path) as target:
            shutil.copyfile(artifact.path, target)
    return replace(artifact, path=path)


def _format(path: Path, asked: str | None) -> str:
    """Return a format's name.

    Raises:
        UserError: there is none of this name or suffix, or the two do not go together.
    """
    suffixes = {one.suffix: name for name, one in FORMATS.items()}
    if asked is None:
        if path.suffix not in suffixes:
            raise UserError(f"{path}: expected a name that ends in {', '.join(suffixes)}")
        return suffixes[path.suffix]
    if asked not in FORMATS:
        raise UserError(nearest(asked, FORMATS, "format"))
    if FORMATS[asked].suffix != path.suffix:
        raise UserError(f"{path}: expected a name that ends in {FORMATS[asked].suffix}, as {asked} files do")
    return asked
