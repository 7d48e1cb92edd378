"""Conditions under which numbers were taken, in words: machine, versions, protocol, data, contamination, commits."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING

from sparsemark.analysis.cells import reference_engine
from sparsemark.analysis.contamination import Disturbance, contamination_of, in_words
from sparsemark.machine.fingerprint import VECTORS, widest_vectors
from sparsemark.records.measurement import MEASURED, Measurement
from sparsemark.report import wording
from sparsemark.report.deployment import Deployment
from sparsemark.report.scores import Scoring
from sparsemark.specs import ALL_ONES, DENSE, QAT

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any

    from sparsemark.records.run import Run
    from sparsemark.records.scores import DataNote
    from sparsemark.report.wording import Notes

_NAMED = 3
"""Contaminated cells that are named; the others are counted."""

_WHOLE = re.compile(r"(?<![\w.-])\d{1,15}(?![\w-]|\.\d)")
"""Number in a text that is no part of a name or a version."""

_ALL, _OF_SOME = re.compile(r"^all (\d+) inputs"), re.compile(r"^\d+ of \d+ inputs")

_SHORT_COMMIT = 10
_DAY = len("2026-01-31")

_PROTOCOL = {
    "threads": "threads",
    "batch": "batch",
    "calls a cell": "samples",
    "launches": "launches",
    "a block": "block",
}
"""Fields of the protocol by the words for them."""


def conditions(run: Run, measurements: Sequence[Measurement], deployment: Deployment | None = None) -> list[str]:
    """Return the conditions under which the numbers of `measurements`, all or some of a run's, were taken."""
    cells = [m for m in measurements if m.status == MEASURED and m.p50_ms is not None]
    lines = [*environment(run.machine_info), _protocol(cells, run.engines), *_devices(cells, run.engines)]
    lines += [*_scored_on(measurements), _finetuned(measurements)]
    compared = _with_ranges(_of_all(_by_text((_data(m.parity_data), m.model) for m in measurements)))
    lines += [f"parity, and agreement (the share of equal decisions), on {data}" for data in compared]
    count = _disturbance(run, measurements)
    lines += [f"(!) contaminated: {m.name}: {in_words(contamination_of(m))}" for m in count.cells[:_NAMED]]
    if len(count.cells) > _NAMED:
        command = (deployment or Deployment()).as_csv
        lines.append(f"(!) {count.words}; {command} says why for each")
    lines.append(_origin(run))
    return [line for line in lines if line]


def summary(run: Run, measurements: Sequence[Measurement]) -> str:
    """Return the conditions in one line: machine, threads, calls, disturbed cells of these networks, and day."""
    info = run.machine_info
    cells = [m for m in measurements if m.status == MEASURED and m.p50_ms is not None]
    count = _disturbance(run, measurements)
    parts = [
        _processor(info),
        *_counts(cells, ("threads", "calls a cell", "launches")),
        f"(!) {count.words}" if count.cells else "",
        str(run.when or "")[:_DAY],
    ]
    return ", ".join(str(part) for part in parts if part)


def _disturbance(run: Run, measurements: Iterable[Measurement]) -> Disturbance:
    """Return how many cells of the networks among `measurements` were disturbed.

    All cells of these networks count, whichever of them are shown: the page and the tables count those.
    """
    networks = {m.model for m in measurements if m.p50_ms is not None}
    return Disturbance.of(m for m in run.measurements if m.model in networks)


def job(cells: Sequence[Measurement]) -> str:
    """Return threads and inputs a call of timed cells: `threads 1, batch 1`, or their ranges."""
    return ", ".join(_counts(cells, ("threads", "batch")))


def epochs_of(measurements: Iterable[Measurement]) -> str:
    """Return how long pruned networks were fine-tuned: `6 epochs`, `0 epochs`; empty where nobody recorded it."""
    pruned = (m for m in measurements if m.method not in (None, DENSE))
    spent = sorted({m.finetuning_epochs for m in pruned if m.finetuning_epochs is not None})
    if not spent:
        return ""
    span = f"{spent[0]}" if len(spent) == 1 else f"{spent[0]} to {spent[-1]}"
    return f"{span} {'epoch' if spent == [1] else 'epochs'}"


def has_equal_dense(measurements: Iterable[Measurement], method: str = ALL_ONES) -> bool:
    """Return whether the dense network was fine-tuned as long as the pruned ones: a mask of ones prunes nothing."""
    return any(m.method == method and m.status == MEASURED for m in measurements)


def _finetuned(measurements: Sequence[Measurement]) -> str:
    epochs = epochs_of(measurements)
    if not epochs:
        return ""
    if epochs.startswith("0 epochs"):
        return "pruned networks were not fine-tuned"
    equal = next((one for one in (ALL_ONES, f"{ALL_ONES}+{QAT}") if has_equal_dense(measurements, one)), "")
    control = f", {equal} is the dense one fine-tuned as long" if equal else ""
    return f"pruned networks were fine-tuned for {epochs}, the dense one not{control}"


def _scored_on(measurements: Sequence[Measurement]) -> list[str]:
    """Write one line for each set of data, and one for each metric whose low values are the good ones."""
    scoring = Scoring.of(measurements)
    metrics: dict[str, dict[str, None]] = {}
    networks = _by_text((_data(m.data), m.model) for m in measurements)
    for m in measurements:
        if m.data is not None:
            metrics.setdefault(_data(m.data), {})[scoring.scale(m.model).metric] = None
    lines = _with_ranges({f"{', '.join(named)} on {data}": networks[data] for data, named in metrics.items()})
    lower = [scale for scale in scoring.shown(measurements) if not scale.higher_is_better]
    return lines + [f"{scale.metric}: {scale.direction}" for scale in lower]


def _data(data: DataNote | None) -> str:
    """Return what a reader must know of data; the caveat is most often one of the words already."""
    if data is None:
        return ""
    word = data.caveat or ""
    return data.words if word.lower() in data.words.lower() else f"{word}: {data.words}"


def _devices(cells: Iterable[Measurement], notes: Notes) -> list[str]:
    timed = dict.fromkeys(m.engine for m in cells if m.engine in notes)
    devices = {engine: notes[engine].device for engine in timed if engine}
    return [f"{wording.engine_name(name, notes)} on {device}" for name, device in devices.items() if device != "cpu"]


def environment(info: Mapping[str, Any]) -> list[str]:
    """Return the machine, and the versions of what ran on it."""
    return [_machine(info), _versions(info)]


def _distinct(texts: Iterable[str | None]) -> list[str]:
    return [text for text in dict.fromkeys(texts) if text]


def _by_text(texts: Iterable[tuple[str, str | None]]) -> dict[str, frozenset[str | None]]:
    """Return the networks that each text is of, with an empty text where there are rows without one."""
    found: dict[str, set[str | None]] = {}
    for text, network in texts:
        found.setdefault(text, set()).add(network)
    return {text: frozenset(networks) for text, networks in found.items()}


def _of_all(texts: Mapping[str, frozenset[str | None]]) -> dict[str, frozenset[str | None]]:
    """Return `all 32 inputs` as `32 of 32 inputs` where others are of a part of them; empty texts are left out."""
    found = {text: networks for text, networks in texts.items() if text}
    if not any(_OF_SOME.match(text) for text in found):
        return found
    return _by_text((_ALL.sub(r"\1 of \1 inputs", text), one) for text, of in found.items() for one in of)


def _with_ranges(texts: Mapping[str, frozenset[str | None]]) -> list[str]:
    """Return one text, with the ranges, for those that differ in whole numbers alone, such as inputs and folds.

    Those of other networks are apart: a number may be part of the name of their data.
    """
    alike: dict[tuple[str, frozenset[str | None]], list[str]] = {}
    for text, networks in texts.items():
        alike.setdefault((_WHOLE.sub("#", text), networks), []).append(text)
    return [_with_range(same) if len(same) > 1 else same[0] for same in alike.values()]


def _with_range(texts: Sequence[str]) -> str:
    numbers = zip(*([int(found) for found in _WHOLE.findall(text)] for text in texts), strict=True)
    spans = iter(f"{min(of)}" if len(set(of)) == 1 else f"{min(of)} to {max(of)}" for of in numbers)
    return _WHOLE.sub(lambda _: next(spans), texts[0])


def _machine(info: Mapping[str, Any]) -> str:
    count = info.get("cpu_count") or _known_to_pytest(info).get("count")
    kernel = info.get("kernel") or info.get("release")
    parts = [_processor(info), f"{count} processors" if count else None, f"kernel {kernel}" if kernel else None]
    return ", ".join(str(part) for part in parts if part)


def _processor(info: Mapping[str, Any]) -> str:
    """Return the processor, with its widest vectors: clouds give processors of several generations one name."""
    model = info.get("cpu_model") or _known_to_pytest(info).get("brand_raw") or ""
    return " with ".join(str(part) for part in (model, VECTORS.get(widest_vectors(info))) if part)


def _known_to_pytest(info: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what pytest-benchmark itself notes of the processor, in files without what sparsemark writes."""
    cpu = info.get("cpu")
    return cpu if isinstance(cpu, dict) else {}


def software(info: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return Python and the packages behind a run, each with its version; those whose version is not known are absent.

    sparsemark itself stands first among the packages, the others in the order of the record.
    """
    versions = info.get("versions")
    recorded = versions if isinstance(versions, dict) else {}
    python = info.get("python") or info.get("python_version")
    found = {"Python": python, "sparsemark": recorded.get("sparsemark")} | recorded
    return [(str(name), str(version)) for name, version in found.items() if version]


def _versions(info: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {version}" for name, version in software(info))


def _protocol(cells: Sequence[Measurement], notes: Notes) -> str:
    if not cells:
        return ""
    engines = _distinct(
        wording.engine_name(reference_engine(m), notes) for m in cells if m.speedup_reference and not m.control
    )
    over = [f"speedup over the same network, dense, in {engine}" for engine in engines]
    return ", ".join([*_counts(cells, _PROTOCOL), *over])


def _counts(cells: Sequence[Measurement], names: Iterable[str]) -> list[str]:
    parts = []
    for name in names:
        field = _PROTOCOL[name]
        values = sorted({value for m in cells if (value := getattr(m, field)) is not None})
        if values and not (field == "launches" and values == [1]):
            span = str(values[0]) if len(values) == 1 else f"{values[0]}-{values[-1]}"
            parts.append(f"{name} {span}")
    return parts


def _origin(run: Run) -> str:
    statuses = Counter(m.status for m in run.measurements)
    counts = ", ".join(f"{n} {status.replace('_', ' ')}" for status, n in statuses.items())
    return ", ".join(part for part in (run.when, _commits(run), counts) if part)


def _commits(run: Run) -> str:
    """Return the commits at which cells were timed, several for a resumed study; else that which wrote the result."""
    timed = Counter(m.measured_commit[:_SHORT_COMMIT] for m in run.measurements if m.measured_commit)
    if timed:
        return "timed at " + ", ".join(f"commit {commit} ({n})" for commit, n in timed.most_common())
    commit = str(run.commit_info.get("id") or "")[:_SHORT_COMMIT]
    dirty = " with local changes" if commit and run.commit_info.get("dirty") else ""
    return f"commit {commit}{dirty}" if commit else ""
