"""Search for the hyperparameters of a network with Optuna, on validation patients.

`python -m training.search --data DIR --trials 10 --epochs 5`

Each trial is a short training by the recipe `better` with another optimiser, rate, momentum, dropout and initial
weights. The first is what the paper settled on. A search that was stopped goes on, in the middle of a trial too.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import time
from typing import TYPE_CHECKING, Any

import msgspec
import torch

from models import NETWORKS
from sparsemark import paths
from sparsemark.cli import exits
from sparsemark.errors import UserError
from sparsemark.files import key_of, write_atomically
from sparsemark.machine.locks import only_process
from sparsemark.references import resolve
from sparsemark.report.progress import waiting
from sparsemark.report.renderers.csv import table_csv
from sparsemark.study.task import SELECT
from training.data import DATA_VARIABLE
from training.initialization import INITIALIZATIONS, initialize
from training.prediction import summarise_slices
from training.recipe import with_epochs
from training.study import open_task

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import optuna

    from training.study import StudyTask

WORK = paths.WORK / "search"

PAPER = {"optimizer": "adam", "learning_rate": 1e-3, "momentum": 0.9, "dropout": 0.3, "initialization": "normal"}
"""What the paper says it found best; it gives no share of dropout, and this is our networks' own."""

OWN = {**PAPER, "learning_rate": 3e-3, "initialization": "kaiming"}
"""What the recipe `better` has."""

RATES = (1e-4, 3e-2)
MOMENTA = (0.5, 0.98)
MOST_DROPOUT = 0.6

METRIC = "roc_auc"
"""What is searched for: it needs no threshold, which five epochs have not settled."""


def table(model: str, suffix: str) -> Path:
    """File of the trials of a search of a network; as JSON with each validation patient's accuracy and weight."""
    return paths.RESULTS / "tables" / f"search-{model}.{suffix}"


def suggest(trial: optuna.Trial) -> dict[str, Any]:
    """Return the hyperparameters of a trial."""
    from training.learner import OPTIMIZERS

    return {
        "optimizer": trial.suggest_categorical("optimizer", list(OPTIMIZERS)),
        "learning_rate": trial.suggest_float("learning_rate", *RATES, log=True),
        "momentum": trial.suggest_float("momentum", *MOMENTA),
        "dropout": trial.suggest_float("dropout", 0.0, MOST_DROPOUT),
        "initialization": trial.suggest_categorical("initialization", list(INITIALIZATIONS)),
    }


def train_trial(model: str, task: StudyTask, chosen: Mapping[str, Any], epochs: int, seed: int) -> dict[str, Any]:
    """Train a network by hyperparameters and return its scores on validation slices, and each patient's accuracy.

    Args:
        model: name in `models.NETWORKS`.
        task: of its data.
        chosen: as of `suggest`.
        epochs: of training.
        seed: of weights and order.
    """
    from training.loop import fit

    network: torch.nn.Module = resolve(NETWORKS[model])()
    initialize(network, chosen["initialization"], seed)
    for layer in network.modules():
        if isinstance(layer, torch.nn.Dropout):
            layer.p = chosen["dropout"]
    phase = msgspec.structs.replace(
        with_epochs(task.recipe.train, epochs), learning_rate=chosen["learning_rate"], beta1=chosen["momentum"]
    )
    work = WORK / model / key_of(dict(chosen), epochs, seed)
    started = time.perf_counter()
    fit(network, task.task, task.slices, task.split, phase, seed=seed, work=work, optimizer=chosen["optimizer"])
    seconds = time.perf_counter() - started
    validation = task.split.validation
    found = summarise_slices(network, task.task, task.slices, validation)
    owners = [task.slices.patients[index] for index in validation]
    return {
        "scores": task.task.score(found, owners),
        "patients": {patient: of["accuracy"] for patient, of in task.task.by_patient(found, owners).items()},
        "seconds": seconds,
    }


def search(model: str, task: StudyTask, *, trials: int, epochs: int, seed: int, folder: Path) -> optuna.Study:
    """Run trials until there are as many as asked for, those of an earlier call counted.

    Args:
        model: name in `models.NETWORKS`.
        task: of its data.
        trials: in all.
        epochs: of each.
        seed: of weights, order, and what is tried.
        folder: of what is needed to go on; one for each data, epochs and seed.

    Raises:
        UserError: Optuna is not installed.
    """
    try:
        import optuna
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend
    except ImportError as error:
        raise UserError(
            "training.search: Optuna is not installed, expected: pip install 'sparsemark[study]'"
        ) from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    folder.mkdir(parents=True, exist_ok=True)
    study = optuna.create_study(
        study_name=model,
        storage=JournalStorage(JournalFileBackend(str(folder / "trials.log"))),
        sampler=optuna.samplers.TPESampler(seed=seed, n_startup_trials=max(4, trials // 2)),
        direction="maximize",
        load_if_exists=True,
    )
    if not study.trials:
        for first in (PAPER, OWN):
            study.enqueue_trial(first)
    for stopped in study.get_trials(states=[optuna.trial.TrialState.RUNNING]):
        study.tell(stopped.number, state=optuna.trial.TrialState.FAIL)
        study.enqueue_trial(stopped.params)

    def objective(trial: optuna.Trial) -> float:
        chosen = suggest(trial)
        done = len(study.get_trials(states=[optuna.trial.TrialState.COMPLETE]))
        with waiting(f"trial {done + 1} of {trials}: {_words(chosen)}"):
            found = train_trial(model, task, chosen, epochs, seed)
        for name, value in found.items():
            trial.set_user_attr(name, value)
        return float(found["scores"][METRIC])

    missing = trials - len(study.get_trials(states=[optuna.trial.TrialState.COMPLETE]))
    study.optimize(objective, n_trials=max(0, missing))
    return study


def _words(chosen: Mapping[str, Any]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {_short(value)}" for name, value in chosen.items())


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def rows_of(study: optuna.Study) -> list[dict[str, Any]]:
    """Return a row for each finished trial, the best first."""
    from optuna.trial import TrialState

    finished = study.get_trials(states=[TrialState.COMPLETE])
    return [
        {
            "trial": trial.number,
            **trial.params,
            **{f"validation_{name}": value for name, value in trial.user_attrs["scores"].items()},
            "seconds": round(trial.user_attrs["seconds"], 1),
            "patients": trial.user_attrs["patients"],
        }
        for trial in sorted(finished, key=lambda trial: -float(trial.value or 0.0))
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code, as `sparsemark.cli.exits` defines it; 2 where the input is wrong."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    return exits.run("training.search", lambda: _search(options))


def _search(options: argparse.Namespace) -> int:
    if options.trials < 1:
        raise UserError(f"--trials {options.trials}: expected a number from 1")
    task = open_task(options.model, options.seed, data=options.data, recipe="better", epochs=options.epochs)
    about = task.describe()
    folder = WORK / options.model / key_of(about.get("key"), options.epochs, options.seed)
    with only_process(paths.lock(folder), f"training.search of {options.model}"):
        study = search(
            options.model, task, trials=options.trials, epochs=options.epochs, seed=options.seed, folder=folder
        )
    rows = rows_of(study)
    document = {"model": options.model, "epochs": options.epochs, "seed": options.seed, "part": SELECT,
                "data": about["data"], "caveat": about.get("caveat"), "paper": PAPER, "trials": rows}  # fmt: skip
    write_atomically(table(options.model, "json"), (json.dumps(document, indent=1) + "\n").encode())
    lines = table_csv({name: value for name, value in row.items() if name != "patients"} for row in rows)
    write_atomically(table(options.model, "csv"), lines.encode())
    print(f"{lines}{table(options.model, 'csv')}\n{table(options.model, 'json')}")  # noqa: T201 - a command
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="training.search", description="Search for a network's hyperparameters.")
    parser.add_argument("--data", help=f"folder of the LGG set; else {DATA_VARIABLE}, else a generated phantom")
    parser.add_argument("--model", choices=NETWORKS, default="cnn9", help="(%(default)s)")
    parser.add_argument("--trials", type=int, default=10, help="in all (%(default)s)")
    parser.add_argument("--epochs", type=int, default=5, help="of each trial (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of split, weights, order and search (%(default)s)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
