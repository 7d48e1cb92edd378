"""Every file and folder name, in one place."""

from __future__ import annotations

import os
from pathlib import Path

from sparsemark.errors import UserError

DEFAULT_STUDY = Path("bench/cnn9.toml")
"""Study file that `sparsemark run` and `pytest bench` use by default."""

WEIGHTS = Path("models/weights")
RESULTS = Path("results")
HISTORY = Path("history.jsonl")
"""File that `sparsemark history` reads and extends by default."""

WORK = Path(".sparsemark")
"""Artifacts, journals, decoded images: everything that a rerun would recreate."""


def checkpoint(weights: Path, variant: str) -> Path:
    """Trained weights of a variant."""
    return weights / f"{variant}.safetensors"


def study_work(study: str) -> Path:
    """Working folder of a study."""
    return WORK / study


def artifact_stem(work: Path, variant: str, key: str) -> Path:
    """Exported files of a variant, without suffix; the key names what they were made from."""
    return work / "artifacts" / f"{variant}-{key}"


def reference_outputs(work: Path, key: str) -> Path:
    """Float64 outputs that parity is checked against."""
    return work / "references" / f"{key}.npz"


def launch_data(work: Path, key: str) -> Path:
    """Inputs and reference outputs that fresh processes check and time engines on."""
    return work / "launches" / f"{key}.npz"


def counts(work: Path, key: str) -> Path:
    """Weights, zeros and multiply-adds of a network."""
    return work / "counts" / f"{key}.json"


def groups_note(work: Path, sha256: str) -> Path:
    """Groups of the scores of a checkpoint that holds none."""
    return work / "groups" / f"{sha256}.json"


def training_work(work: Path, variant: str) -> Path:
    """State from which a training resumes."""
    return work / "training" / variant


def untrained(work: Path) -> Path:
    """Checkpoints of networks whose weights are their factories' own."""
    return work / "untrained"


def journal(work: Path) -> Path:
    """Finished cells of `sparsemark run`."""
    return work / "journal.jsonl"


def pytest_journal(work: Path) -> Path:
    """Finished cells of the latest `pytest bench`; `sparsemark report` reads it if pytest was killed."""
    return work / "pytest.jsonl"


def bench_journal(output: Path) -> Path:
    """Finished cells of an unfinished `sparsemark bench --json OUTPUT`."""
    return output.with_name(f"{output.name}.unfinished.jsonl")


def sensitivity_journal(output: Path) -> Path:
    """Scored layers of an unfinished `sparsemark sensitivity --json OUTPUT`; a `bench` of that name has its own."""
    return output.with_name(f"{output.name}.sensitivity.jsonl")


def bench_networks(output: Path) -> Path:
    """Networks of an unfinished `sparsemark bench --json OUTPUT` that were fine-tuned, or are being."""
    return output.with_name(f"{output.name}.networks")


def lock(work: Path) -> Path:
    """Held by the process that works in a folder."""
    return work / "lock"


def bench_lock(output: Path) -> Path:
    """Held by the `sparsemark bench --json OUTPUT` or `sparsemark sensitivity --json OUTPUT` that runs."""
    return output.with_name(f"{output.name}.lock")


def sweep_token(work: Path) -> Path:
    """Text that only those read who see this folder."""
    return work / "sweep.token"


def run(machine: str, study: str) -> Path:
    """Result file of a study on a machine."""
    return RESULTS / machine / f"{study}.json"


def table(machine: str, study: str, suffix: str) -> Path:
    """Latency-versus-accuracy table of a study on a machine."""
    return RESULTS / "tables" / f"{study}-{machine}.{suffix}"


def rankings_table(study: str) -> Path:
    """Cells of a study whose rank by speedup differs between classes of hosts."""
    return RESULTS / "tables" / f"{study}-host-classes.md"


def targets(machine: str) -> Path:
    """Results of `bench/targets.py` on a machine."""
    return RESULTS / "tables" / f"targets-{machine}.md"


def accuracy_table(study: str, suffix: str) -> Path:
    """Accuracy of every variant and seed, with the steps before fine-tuning."""
    return RESULTS / "tables" / f"{study}-accuracy.{suffix}"


def layers_table(study: str) -> Path:
    """Remaining weights, multiply-adds and channels of every layer of every variant."""
    return RESULTS / "tables" / f"{study}-layers.csv"


def epochs_table(study: str) -> Path:
    """Losses and scores of every epoch of training and fine-tuning of every variant."""
    return RESULTS / "tables" / f"{study}-epochs.csv"


def patients(study: str) -> Path:
    """Patients of the training, validation and test parts, per seed."""
    return RESULTS / "tables" / f"{study}-patients.json"


def groups(study: str) -> Path:
    """Score and weight of every variant by metric and group."""
    return RESULTS / "tables" / f"{study}-groups.json"


def drawn(work: Path) -> Path:
    """Digests of the figures that were drawn, and the key of their inputs."""
    return work / "figures.json"


def page(study: str) -> Path:
    """Report of a study as a page."""
    return RESULTS / f"{study}.html"


def figures(machine: str, study: str) -> Path:
    """Stem of a study's figures on a machine."""
    return RESULTS / "figures" / f"{study}-{machine}"


def decisions() -> Path:
    """Measured decisions of `direct-csr` on this machine, in the user's cache, shared by all projects."""
    return user_cache() / "direct"


def levels(key: str) -> Path:
    """Optimisation level of ONNX Runtime that was faster for a file on this machine; the key identifies both."""
    return user_cache() / "levels" / f"{key}.json"


def processor(key: str) -> Path:
    """Processor in LLVM's words; the key identifies its kind and LLVM's version."""
    return user_cache() / "processor" / f"{key}.json"


def machine_code(key: str) -> Path:
    """Machine code of `direct-csr`; the key identifies its sources, the processor and the compiler."""
    return user_cache() / "compiled" / f"{key}.o"


def vega_bundle(version: str) -> Path:
    """Script of the charts on a page, as the package of this version of Vega brings it."""
    return user_cache() / "page" / f"vega-{version}.js"


def host_locks() -> list[Path]:
    """Places of the lock that whatever measures on this host holds, the first that can be opened counts.

    Containers that share a host see different ones: `SPARSEMARK_HOST_LOCK` names a file that all of them see.
    """
    named = os.environ.get("SPARSEMARK_HOST_LOCK")
    if named:
        return [Path(named)]
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    return [Path("/run/lock/sparsemark"), *([Path(runtime) / "sparsemark.lock"] if runtime else [])]


def user_cache() -> Path:
    """Folder of what all projects of a user share: private to that user, since code in it is run."""
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    # As the XDG specification says: else whoever owns the folder that a command runs in could plant machine code there.
    if not base.is_absolute():
        try:
            base = Path.home() / ".cache"
        except RuntimeError as error:
            raise UserError(f"no folder to keep things in: {error} Set XDG_CACHE_HOME.") from error
    return base / "sparsemark"
