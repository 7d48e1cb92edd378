"""Origin of a run: the network and the options that its files are made again with, and where they were kept."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Origin:
    """Words of a command line, to be shown and never run.

    Args:
        reference: of the network, as `sparsemark export` takes it.
        inputs: options that name the network's inputs, as a shell reads them.
        finetuning: those that name the task and how long a pruned network is fine-tuned.
        artifacts: folder of the exported files, relative to that of the result file; None where they were not kept.
    """

    reference: str
    inputs: str = ""
    finetuning: str = ""
    artifacts: str | None = None
