"""Runs that the tests of this folder show, and changes to them."""

from __future__ import annotations

import dataclasses
import re

from sparsemark.records.measurement import Measurement
from sparsemark.records.run import Run
from tests.synthetic import MACHINE, accuracy, cell, study_run

FAILED = tuple(
    Measurement(f"a-{status}", status, f"why it is {status}", model="a", method="magnitude", sparsity_target=0.5)
    for status in ("unsupported", "parity_failed", "error")
)
BARE = Measurement("bare", "measured")
RUNS = {
    "study": study_run(),
    "nothing ran": Run(FAILED),
    "one bare row": Run((BARE,)),
    "bare and failed": Run((BARE, *FAILED)),
    "one row": Run((cell(model="m", method="none", engine="onnxruntime"),), MACHINE),
    "two networks": Run(study_run().measurements + study_run(1, model="unet").measurements, MACHINE),
}


def replace(run, choose, **fields):
    """Change fields of the chosen measurements."""
    changed = (dataclasses.replace(m, **fields) if choose(m) else m for m in run.measurements)
    return dataclasses.replace(run, measurements=tuple(changed))


def of(method=None, engine=None, sparsity=None, control=None):
    return lambda m: (
        (method is None or m.method == method)
        and (engine is None or m.engine == engine)
        and (sparsity is None or m.sparsity_target == sparsity)
        and m.control == control
    )


def rescored(run, metric, **fields):
    """The same run, its one metric under another name and with other fields; functions make them of the old score."""

    def changed(score):
        given = {name: make(score) if callable(make) else make for name, make in fields.items()}
        return dataclasses.replace(score, **given)

    rows = (
        dataclasses.replace(m, scores=dict(zip([metric], map(changed, m.scores.values()), strict=False)))
        for m in run.measurements
    )
    return dataclasses.replace(run, measurements=tuple(rows))


def scored(value, **more):
    """Fields of a measurement with this accuracy."""
    return {"scores": accuracy(value, **more)}


def without_scripts(page):
    """A page without what sparsemark itself put between tags of scripts and styles, and without its drawn figures.

    Scripts end at the first end tag, as they do in a browser.
    """
    return re.sub(r"<script\b.*?</script>|<style>.*?</style>|data:image/[^\"]*", "", page, flags=re.DOTALL)


def dense_of(seed, accuracy):
    """The dense network of a seed in ONNX Runtime, with a score or without."""
    common = {"model": "m", "method": "none", "sparsity_target": 0.0, "sparsity": 0.0, "engine": "onnxruntime"}
    scores = {} if accuracy is None else scored(accuracy)
    return cell(seed, name=f"dense{seed}", seed=seed, **scores, **common)


def channels_in_multiples(seed, round_to, sparsity, accuracy, achieved=None):
    """The same with channels removed."""
    return cell(
        seed, ms=10 - 5 * sparsity - round_to / 8, name=f"c{sparsity}r{round_to}s{seed}", model="m", method="channels",
        sparsity_target=sparsity, sparsity=achieved or sparsity, round_to=round_to, seed=seed, engine="onnxruntime",
        **scored(accuracy),
    )  # fmt: skip


def masked(method, sparsity, accuracy, low=None, high=None, **more):
    """The same with a mask; `low` and `high` are the interval of its loss against dense."""
    fields = {"model": "m", "engine": "onnxruntime", "seed": 0, "pruning": f"{method}:{sparsity}"} | more
    return cell(
        1, 10.0, f"{method}{sparsity}{fields['seed']}", method=method, sparsity_target=sparsity, sparsity=sparsity,
        **fields, **scored(accuracy, loss_low=low, loss_high=high),
    )  # fmt: skip


def on_fold(m, fold):
    """The same network, tested on a fold."""
    return dataclasses.replace(m, name=f"{m.name}f{fold}", fold=fold)


def drawn(axes):
    """The points of each series of a panel, by its name in the legend."""
    handles, labels = axes.get_legend_handles_labels()
    return {label: handle for handle, label in zip(handles, labels, strict=True)}
