"""Program of a launch: read a job from stdin, load and check both engines, time them, write the answer.

It imports what its engines need and nothing more: torch in the process changes the memory, the threads and the caches
that another engine is timed in.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from sparsemark import engines
from sparsemark.errors import UnsupportedError, UserError
from sparsemark.files import content_hash
from sparsemark.formats.base import Artifact, Weights
from sparsemark.machine.children import end_with_parent
from sparsemark.machine.memory import peak_bytes
from sparsemark.measurement.launch import FAILURES, Answer, Job, Launch
from sparsemark.measurement.launch_data import LaunchData
from sparsemark.measurement.notices import send_notices
from sparsemark.measurement.parity import check
from sparsemark.measurement.timing import measure, settled
from sparsemark.measurement.turns import Turns
from sparsemark.measurement.yardstick import standard

if TYPE_CHECKING:
    from sparsemark.measurement.launch import Side
    from sparsemark.measurement.parity import Verified


def run(job: Job) -> Launch:
    """Do a job in this process; errors as in `launch.launch`."""
    data = LaunchData.load(Path(job.candidate.data))
    candidate = _verified(job.candidate, data, job.protocol.threads)
    # Before the reference is loaded, so that it is the candidate's own.
    peak = peak_bytes()
    apart = job.reference.data != job.candidate.data
    theirs = LaunchData.load(Path(job.reference.data)) if apart else data
    reference = _verified(job.reference, theirs, job.protocol.threads)
    own = [tuple(one.shape for one in batch) for batch in (data.timed[0], theirs.timed[0])]
    if own[0] != own[1]:
        raise UnsupportedError(f"its inputs have shapes {own[0]}, those of its reference {own[1]}")
    if job.turn is None:
        return Launch(measure(candidate, reference, data.timed, job.protocol, yardstick=standard()), peak)
    turns = Turns(job.turn)
    with settled(job.protocol.threads):
        turns.begin()
        timing = measure(candidate, reference, data.timed, job.protocol, yardstick=standard(), locked=True)
        call_s = float(np.median(timing.samples_s))
        return Launch(timing, peak, turns.time(candidate.predict, data.timed, call_s, job.protocol.rewarm))


def _verified(side: Side, data: LaunchData, threads: int) -> Verified:
    path = Path(side.path)
    try:
        found = content_hash(path)
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from error
    if found != side.sha256:
        raise UserError(f"{path}: changed since it passed the parity check; run the same command again")
    artifact = Artifact(path, side.format, side.sha256, Weights(None, None), path.stat().st_size)
    # Another process may run other code for the same file, so what is timed here is checked here.
    return check(engines.load(artifact, side.engine, threads), data.checked, data.reference(side.outputs))


def main(path: str, parent: str) -> int:
    """Answer the job on stdin into a file, for the process of this id."""
    end_with_parent(int(parent))
    send_notices()
    answer: Any
    try:
        with np.errstate(all="ignore"):
            answer = Answer(run(msgspec.json.decode(sys.stdin.buffer.read(), type=Job)))
    except Exception as error:
        kinds = [kind for kind, exception in FAILURES.items() if isinstance(error, exception)]
        named = "" if kinds else f"{type(error).__name__}: "
        answer = Answer(failure=kinds[0] if kinds else "error", reason=" ".join(f"{named}{error}".split()))
    Path(path).write_bytes(msgspec.json.encode(answer))
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
