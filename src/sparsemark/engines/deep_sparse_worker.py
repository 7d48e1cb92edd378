"""The other end of `deep_sparse`: one network, run by an interpreter that has DeepSparse and no sparsemark.

Arguments are the ONNX file, the number of threads, the descriptor of the shared memory, and the input's shape in JSON.
The answer is a line of JSON once the network is loaded, then a byte for each byte. The input lies at the start of the
shared memory, the outputs at the offsets in that line.
"""

from __future__ import annotations

import json
import mmap
import os
import sys
from typing import Any

import numpy as np

_LINE = 64
"""Bytes of a cache line; every array begins at one."""


def main(path: str, threads: str, memory: str, shape: str) -> None:
    """Load the network and answer until the pipe is closed, which the end of the parent does too."""
    answers = os.dup(1)
    os.dup2(2, 1)  # DeepSparse greets on the standard output
    try:
        loaded, run = _load(path, int(threads), int(memory), json.loads(shape))
    except Exception as error:
        loaded, run = {"error": f"{type(error).__name__}: {error}"}, None
    os.write(answers, json.dumps(loaded).encode() + b"\n")
    while run is not None and os.read(0, 1):
        run()
        os.write(answers, b".")


def _load(path: str, threads: int, memory: int, shape: list[int]) -> tuple[dict[str, Any], Any]:
    from deepsparse import Engine, __version__

    image = np.zeros(shape, np.float32)
    engine = Engine(model=path, batch_size=shape[0], num_cores=threads)
    arrays = [image, *engine.run([image])]
    ends = np.cumsum([-(-array.nbytes // _LINE) * _LINE for array in arrays]).tolist()
    starts = [0, *ends[:-1]]
    os.ftruncate(memory, ends[-1])
    shared = mmap.mmap(memory, ends[-1])
    views = [
        np.frombuffer(shared, array.dtype, array.size, start).reshape(array.shape)
        for array, start in zip(arrays, starts, strict=True)
    ]

    def run() -> None:
        for view, output in zip(views[1:], engine.run(views[:1]), strict=True):
            np.copyto(view, output)

    return {
        "version": __version__,
        "supported": float(engine.fraction_of_supported_ops),
        "bytes": ends[-1],
        "outputs": [[a.dtype.str, list(a.shape), start] for a, start in zip(arrays[1:], starts[1:], strict=True)],
    }, run


if __name__ == "__main__":
    main(*sys.argv[1:])
