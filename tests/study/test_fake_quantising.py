"""Training for int8: its rounding is the quantiser's, the module stays as it is, and int8 loses less afterwards."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from torch import nn
from torch.nn import functional

from sparsemark import Metric, formats
from sparsemark.cli import main
from sparsemark.engines import ENGINES
from sparsemark.errors import TaskError, UnsupportedError, UserError
from sparsemark.formats.onnx_int8 import weight_limit
from sparsemark.networks.checkpoint import load_checkpoint
from sparsemark.records.measurement import MEASURED
from sparsemark.records.run import Run
from sparsemark.report.document import content_of
from sparsemark.specs import INT8, Cell, ModelSpec, Protocol, Pruning, Variant
from sparsemark.study.fake_quantising import fake_quantised, note, rounded_input, rounded_weight
from sparsemark.study.file import load_study
from sparsemark.study.finetune import finetune
from sparsemark.study.pipeline import Pipeline
from sparsemark.study.prepare import Places, prepare
from sparsemark.study.task import Task
from tests import small_networks
from tests.small_networks import artifact, batches
from tests.study.test_finetune import FACTORY, SHAPE, Points, network, state_of
from tests.toy_study.place import benchmarks, place, trained

X = torch.from_numpy(np.random.default_rng(5).standard_normal((4, *SHAPE[1:]), dtype=np.float32))

KINDS = {
    "convolution": lambda: nn.Conv2d(4, 6, 3),
    "in one dimension": lambda: nn.Conv1d(4, 6, 3),
    "in groups": lambda: nn.Conv2d(4, 6, 3, groups=2),
    "transposed": lambda: nn.ConvTranspose2d(4, 6, 3),
    "transposed in groups": lambda: nn.ConvTranspose2d(4, 6, 3, groups=2),
    "linear": lambda: nn.Linear(4, 6),
}


@pytest.fixture(params=[127, 64])
def limit(request, monkeypatch):
    """Largest integer of a weight on a processor that sums bytes exactly, and on one that does not."""
    monkeypatch.setattr("sparsemark.formats.onnx_int8.sums_bytes_exactly", lambda: request.param == 127)
    return request.param


def made(kind):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return KINDS[kind]()


# --- the rounding


def folded(module, limit):
    """Weights as int8 holds them, times the scale of the BatchNorm behind them, by the layer's name."""
    found, last = {}, ""
    for name, layer in module.named_modules():
        if isinstance(layer, nn.modules.conv._ConvNd | nn.Linear):
            found[name], last = rounded_weight(layer, limit).detach(), name
        elif isinstance(layer, nn.modules.batchnorm._BatchNorm):
            factor = layer.weight / torch.sqrt(layer.running_var + layer.eps)
            found[last] = (found[last] * factor.detach()[:, None, None, None]).detach()
    return {name: weight.numpy() for name, weight in found.items()}


def dequantised(path):
    """Weights of a QDQ file."""
    graph = onnx.load(path).graph
    constants = {one.name: numpy_helper.to_array(one) for one in graph.initializer}
    for node in graph.node:
        if node.op_type == "DequantizeLinear" and node.input[0] in constants and constants[node.input[0]].ndim > 1:
            integers, scale = (constants[name] for name in node.input[:2])
            axis = next((one.i for one in node.attribute if one.name == "axis"), 1)
            shape = [-1 if place == axis else 1 for place in range(integers.ndim)]
            yield integers.astype(np.float32) * (scale.reshape(shape) if scale.ndim else scale)


@pytest.mark.parametrize("name", ["plain", "unet", "mlp"])
def test_weights_are_those_of_the_quantised_file_whether_batchnorm_was_folded_or_not(name, limit, tmp_path):
    """Convolutions with BatchNorm, transposed ones, linear layers."""
    file = formats.quantise(artifact(name, "none", "onnx"), tmp_path / "int8", batches(name, 8))
    held = list(dequantised(file.path))
    expected = folded(small_networks.build(name), limit)
    assert len(held) == len(expected)
    for layer, weight in expected.items():
        own = [one.T if one.shape != weight.shape else one for one in held if one.size == weight.size]
        near = [float(np.abs(one - weight).max()) for one in own if one.shape == weight.shape]
        assert min(near) < 1e-5 * np.abs(weight).max(), layer


@pytest.mark.parametrize("kind", KINDS)
def test_a_channel_has_as_many_values_as_int8_and_zeros_stay(kind, limit):
    layer = made(kind)
    with torch.no_grad():
        layer.weight.flatten()[::3] = 0
        (layer.weight[:, 1] if "transposed" in kind else layer.weight[1]).zero_()
    rounded = rounded_weight(layer, limit)
    channels, original = (
        one.detach().movedim(1, 0) if "transposed" in kind else one.detach() for one in (rounded, layer.weight)
    )
    for channel, before in zip(channels, original, strict=True):
        step = float(before.abs().max()) / limit
        assert len(channel.unique()) <= 2 * limit + 1
        assert float((channel - before).abs().max()) <= 0.501 * step
        assert torch.equal(channel == 0, before.abs() <= 0.5 * step)
    rounded.sum().backward()
    assert torch.equal(layer.weight.grad, torch.ones_like(layer.weight)), "straight through"


@pytest.mark.parametrize(
    ("given", "low", "high"),
    [
        (torch.linspace(-1, 3, 999), -1, 3),
        (torch.linspace(2, 3, 999), 0, 3),
        (torch.linspace(-3, -2, 999), -3, 0),
    ],
)
def test_inputs_are_unsigned_bytes_between_their_extremes_and_zero(given, low, high):
    given = given.clone().requires_grad_()
    rounded = rounded_input(given)
    step = (high - low) / 255
    assert len(rounded.unique()) <= 256
    assert float((rounded - given).detach().abs().max()) <= 0.501 * step + 0.5 * step, (
        "zero is one of them, so they are shifted"
    )
    steps = rounded.detach() / step
    assert float((steps - steps.round()).abs().max()) < 1e-3
    rounded.sum().backward()
    assert float((given.grad == 1).float().mean()) > 0.99


def test_an_input_of_zeros_stays_and_a_narrow_one_keeps_its_dtype():
    assert torch.equal(rounded_input(torch.zeros(3)), torch.zeros(3))
    assert rounded_input(torch.ones(3, dtype=torch.bfloat16)).dtype == torch.bfloat16


# --- the module


def test_layers_compute_with_rounded_weights_and_inputs_and_afterwards_as_before():
    module, _ = network()
    module.eval()
    plain = module(X)
    with fake_quantised(module):
        seen = module[0](X)
        other = module[0](input=X)
        assert not torch.equal(module(X), plain)
    by_hand = functional.conv2d(rounded_input(X), rounded_weight(module[0], weight_limit()), module[0].bias)
    assert torch.equal(seen, by_hand)
    assert torch.equal(other, by_hand)
    assert torch.equal(module(X), plain)


def untouched(module, before):
    """Whether parameters, their names and order, and classes are those of before, and no hook is left."""
    names, classes = before
    assert list(map(id, module.parameters())) == list(names.values())
    assert [name for name, _ in module.named_parameters()] == list(names)
    assert [type(layer) for layer in module.modules()] == classes
    for layer in module.modules():
        assert "weight" not in vars(layer)
        assert not layer._forward_pre_hooks
        assert not layer._forward_hooks


def looked_at(module):
    return {name: id(one) for name, one in module.named_parameters()}, [type(layer) for layer in module.modules()]


@pytest.mark.parametrize("raised", [ValueError, KeyboardInterrupt])
def test_names_and_identities_stay_through_training_and_after_what_breaks_off_within_a_layer(raised):
    module, _ = network()
    before = looked_at(module)

    def breaks(*_):
        raise raised

    with fake_quantised(module):
        module(X).sum().backward()
        assert looked_at(module) == before
        assert list(module.state_dict()) == list(network()[0].state_dict())
    untouched(module, before)
    module[0].forward = breaks
    with pytest.raises(raised), fake_quantised(module):
        module(X)
    untouched(module, before)


def test_a_weight_of_two_layers_stays_one():
    module = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4))
    module[2].weight = module[0].weight
    with fake_quantised(module):
        module(torch.ones(2, 4)).sum().backward()
    assert module[0].weight is module[2].weight
    assert module[0].weight.grad is not None


def test_what_is_not_rounded_is_named(limit):
    attention = nn.TransformerEncoderLayer(8, 2, 16)
    said = note(attention)
    assert f"weights to integers up to {limit}" in said
    assert said.endswith("but for self_attn.in_proj_weight, self_attn.out_proj.weight")
    assert "but for" not in note(network()[0])
    many = nn.ModuleList([nn.Linear(1, 1), *(nn.Embedding(2, 2) for _ in range(5))])
    assert note(many).endswith(", but for 1.weight, 2.weight, 3.weight and 2 more")


def test_a_network_without_such_a_layer_is_refused():
    refused = pytest.raises(UnsupportedError, match="qat: the network has no convolution or linear layer")
    with refused, fake_quantised(nn.LSTM(3, 4)):
        pass


# --- fine-tuning


def tuned(tmp_path, points=None, **options):
    """The network after fine-tuning for int8, and the weights of before."""
    module, masks = network()
    before = state_of(module)
    finetune(module, Task(points or Points(), "points"), masks, seed=4, work=tmp_path, **({"epochs": 3} | options))
    return module, before


def test_masked_weights_stay_zero_others_learn_and_the_rounding_was_felt(tmp_path):
    module, before = tuned(tmp_path, aware=True)
    for name in ("0.weight", "4.weight"):
        after = state_of(module)[name]
        assert torch.equal(after == 0, before[name] == 0)
        assert not torch.equal(after, before[name])
    other, _ = tuned(tmp_path / "plain")
    assert not torch.equal(module[0].weight, other[0].weight)
    untouched(module, looked_at(module))


def test_a_run_that_was_killed_ends_as_one_that_was_not(tmp_path):
    class Lives(Points):
        pass

    class Dies(Points):
        def batches(self, seed):
            if len(self.epochs_seen) == 2:
                raise KeyboardInterrupt
            return super().batches(seed)

    whole, _ = tuned(tmp_path / "whole", Lives(), aware=True)
    with pytest.raises(KeyboardInterrupt):
        tuned(tmp_path / "parted", Dies(), aware=True)
    points = Lives()
    again, _ = tuned(tmp_path / "parted", points, aware=True)
    assert len(points.epochs_seen) == 1, "two epochs are not done again"
    for name, value in state_of(whole).items():
        assert torch.equal(value, state_of(again)[name]), name


def test_it_never_goes_on_from_a_state_without_rounding_or_with_another(tmp_path, monkeypatch):
    tuned(tmp_path)
    for exact in (True, False):
        monkeypatch.setattr("sparsemark.formats.onnx_int8.sums_bytes_exactly", lambda exact=exact: exact)
        points = Points()
        tuned(tmp_path, points, aware=True)
        assert len(points.epochs_seen) == 3


class Trains(Points):
    """Its own loop; keeps what the network computed in it, and how many hooks its layers had."""

    def __init__(self):
        super().__init__()
        self.computed, self.hooks, self.works = [], [], []

    def train(self, module, epochs, seed, work):
        module.eval()
        self.computed.append(module(X).detach())
        self.hooks.append(len(module[0]._forward_pre_hooks))
        self.works.append(work)


class Breaks(Trains):
    """One that ends with an error."""

    def train(self, module, epochs, seed, work):
        raise KeyError(epochs)


def test_a_loop_of_the_tasks_own_is_rounded_too(tmp_path):
    points = Trains()
    for aware in (False, True):
        module, _ = tuned(tmp_path, points, aware=aware)
    plain, rounded = points.computed
    assert torch.equal(module(X), plain)
    assert not torch.equal(rounded, plain)
    with fake_quantised(module):
        assert torch.equal(module(X), rounded)
    assert len(set(points.works)) == 2, "nor does it go on from the other's state"
    module, masks = network()
    before = looked_at(module)
    with pytest.raises(TaskError, match="KeyError"):
        finetune(module, Task(Breaks(), "points"), masks, epochs=1, seed=0, work=tmp_path, aware=True)
    untouched(module, before)


@pytest.fixture
def model(tmp_path):
    (tmp_path / "net.py").write_text(FACTORY)
    return ModelSpec("net", f"{tmp_path / 'net.py'}:build", SHAPE)


def prepared(model, text, tmp_path, points, epochs):
    task, places = Task(points, "points"), Places(None, tmp_path / "work")
    dense = prepare(Variant(model), None, task, places, epochs)
    return prepare(Variant(model, Pruning.parse(text)), dense, task, places, epochs)


def test_the_last_round_alone_is_rounded(model, tmp_path):
    points = Trains()
    found = prepared(model, "gradual-magnitude:0.8+qat", tmp_path, points, 3)
    assert points.hooks == [0, 0, 1]
    assert [one for one in found.notes if "rounded as in int8" in one]
    assert load_checkpoint(found.source.path).variant.pruning == Pruning.parse("gradual-magnitude:0.8+qat")


def test_it_is_another_network_than_without_and_on_another_processor(model, tmp_path, monkeypatch):
    points = Points()
    files = [prepared(model, text, tmp_path, points, 1) for text in ("magnitude:0.8", "magnitude:0.8+qat")]
    assert files[0].sha256 != files[1].sha256
    seen = len(points.epochs_seen)
    assert prepared(model, "magnitude:0.8+qat", tmp_path, points, 1).sha256 == files[1].sha256
    assert len(points.epochs_seen) == seen, "made once"
    exact = formats.onnx_int8.sums_bytes_exactly()
    monkeypatch.setattr("sparsemark.formats.onnx_int8.sums_bytes_exactly", lambda: not exact)
    prepared(model, "magnitude:0.8+qat", tmp_path, points, 1)
    assert len(points.epochs_seen) > seen


def test_a_kept_network_is_not_taken_for_another_processors_int8(model, tmp_path, monkeypatch):
    """Weights of 7 bits on one processor have 8 on the next, which is another network than was trained."""

    def kept(text):
        task, places = Task(Trains(), "points"), Places(tmp_path / "weights", tmp_path / "work")
        dense = prepare(Variant(model), None, task, places, 1)
        return prepare(Variant(model, Pruning.parse(text)), dense, task, places, 1)

    rounded, plain = kept("magnitude:0.8+qat"), kept("magnitude:0.8")
    assert kept("magnitude:0.8+qat").sha256 == rounded.sha256
    exact = formats.onnx_int8.sums_bytes_exactly()
    monkeypatch.setattr("sparsemark.formats.onnx_int8.sums_bytes_exactly", lambda: not exact)
    limits = (127, 64) if exact else (64, 127)
    expected = rf"for int8 weights up to {limits[0]}, on this processor they go up to {limits[1]}; delete it"
    with pytest.raises(UnsupportedError, match=expected):
        kept("magnitude:0.8+qat")
    assert kept("magnitude:0.8").sha256 == plain.sha256, "which no processor rounds"


def test_without_anything_to_fine_tune_it_is_refused(model, tmp_path):
    with pytest.raises(UserError, match=r"^all-ones\+qat: 0 epochs of fine-tuning; qat needs at least one$"):
        prepared(model, "all-ones+qat", tmp_path, Points(), 0)
    places = Places(None, tmp_path / "work")
    dense = prepare(Variant(model), None, None, places, 4)
    with pytest.raises(UserError, match=r"^all-ones\+qat: qat fine-tunes; no task$"):
        prepare(Variant(model, Pruning.parse("all-ones+qat")), dense, None, places, 4)


# --- what it is for

INPUTS = 16
TEACHER = """
import torch
from torch import nn
def build():
    module = nn.Linear(16, 4)
    with torch.no_grad():
        module.weight.copy_(torch.linspace(0.0, 0.019, 16).repeat(4, 1))
        module.weight[:, 0] = 5.0  # an outlier in each channel, of whose step the others are less than half
        module.bias.zero_()
    return module
"""


class Imitates:
    """Mean squared error against the network itself in float32; inputs that rise and fall together."""

    METRICS = {"mse": Metric(higher_is_better=False)}  # noqa: RUF012 - never changed

    def __init__(self):
        space = {}
        exec(TEACHER, space)
        self.teacher = space["build"]()

    def drawn(self, seed, count):
        rng = np.random.default_rng(seed)
        x = rng.uniform(-1, 1, (count, 1)) + 0.1 * rng.standard_normal((count, INPUTS))
        x[:, 0] = 0
        return x.astype(np.float32)

    def answer(self, x):
        with torch.no_grad():
            return self.teacher(torch.from_numpy(x))

    def images(self, part):
        return self.drawn({"select": 1, "report": 2}[part], 64)

    def score(self, outputs, part):
        return {"mse": ((outputs[0] - self.answer(self.images(part)).numpy()) ** 2).mean(axis=1)}

    def batches(self, seed):
        for step in range(100):
            x = self.drawn(1000 * (seed + 1) + step, 32)
            yield torch.from_numpy(x), self.answer(x)

    def loss(self, outputs, targets):
        return functional.mse_loss(outputs, targets)


def test_int8_loses_less_of_a_network_that_was_trained_for_it(tmp_path):
    (tmp_path / "teacher.py").write_text(TEACHER)
    model = ModelSpec("teacher", f"{tmp_path / 'teacher.py'}:build", (1, INPUTS))
    task = Task(Imitates(), "imitates")
    protocol = Protocol(pairs=6, block=2, warmup_calls=1, warmup_seconds=0.0, images=4)
    pipeline = Pipeline(lambda _: task, protocol, Places(None, tmp_path / "work"), 5)
    rows = {}
    for text in ("all-ones", "all-ones+qat"):
        variant = Variant(model, Pruning.parse(text))
        rows[text] = pipeline.measure(Cell(variant, ENGINES["onnxruntime"].formats[0], "onnxruntime", INT8))
        assert rows[text].status == MEASURED, rows[text].reason
    after, aware = (row.scores["mse"] for row in rows.values())
    assert after.float32 < 1e-6
    assert after.value > 0.005, "rounding costs much"
    assert aware.value < 0.2 * after.value
    assert "rounded as in int8" in rows["all-ones+qat"].notes


AWARE = """
[[prune]]
method = "all-ones+qat"
engines = ["onnxruntime"]
precision = ["int8"]

[[prune]]
method = "magnitude"
sparsity = [0.5]
engines = ["onnxruntime"]
precision = ["fp32", "int8"]

[[prune]]
method = "magnitude+qat"
sparsity = [0.5]
engines = ["onnxruntime"]
precision = ["fp32", "int8"]
"""


def test_a_study_has_both_and_tells_them_apart(tmp_path, monkeypatch):
    """Its task trains by its own loop; the file of the network in float32 is one that any engine runs."""
    monkeypatch.chdir(place(tmp_path))
    text = (tmp_path / "toy.toml").read_text()
    (tmp_path / "toy.toml").write_text(text[: text.index("[[prune]]", text.index("[[prune]]") + 1)] + AWARE)
    assert main(["run", "toy.toml"]) == 0
    (result,) = tmp_path.glob("results/*/toy.json")
    rows = {row["name"]: row["extra_info"] for row in benchmarks(result)}
    base = "toy-magnitude50{}-seed0-onnxruntime{}"
    for aware in ("", "+qat"):
        for precision in ("", "-int8"):
            row = rows[base.format(aware, precision)]
            assert row["status"] == MEASURED, row["reason"]
            assert (row["method"], row["pruning"]) == (f"magnitude{aware}", f"magnitude:0.5{aware}")
    assert rows["toy-all-ones+qat-seed0-onnxruntime-int8"]["control"] is None
    content = content_of(Run.load(result))
    shown = {text for row in content.rows for text in row.texts}
    assert {"magnitude 50 %", "magnitude 50 %, quantisation-aware", "all-ones, quantisation-aware"} <= shown
    assert any("rounded as in int8" in line for line in content.notes)
    count = len(trained(tmp_path))
    assert main(["run", "toy.toml"]) == 0
    assert len(trained(tmp_path)) == count, "nothing is trained again"


@pytest.mark.parametrize(
    ("method", "words"),
    [
        ("none+qat", "prune[0]: 'qat': the dense network is not fine-tuned; expected all-ones+qat"),
        ("qat+magnitude", "prune[0]: 'qat': expected once and last"),
        ("magnitude:0.5+qat+magnitude", "prune[0]: 'qat': expected once and last"),
    ],
)
def test_a_study_file_that_makes_no_sense_is_one_line(method, words, tmp_path):
    path = place(tmp_path) / "toy.toml"
    head = path.read_text().partition("[[prune]]")[0]
    path.write_text(f'{head}[[prune]]\nmethod = "{method}"\nsparsity = [0.0]\n')
    with pytest.raises(UserError) as caught:
        load_study(path)
    assert words in str(caught.value)


def test_the_study_of_int8_has_each_network_with_and_without():
    study = load_study(Path(__file__).parents[2] / "bench" / "qat.toml")
    texts = {cell.variant.pruning.text for cell in study.cells if cell.precision == INT8}
    blocks = {f"block4:{share}{aware}" for share in (0.8, 0.9, 0.95) for aware in ("", "+qat")}
    assert texts == {"none", "all-ones", "all-ones+qat", *blocks}
    assert {cell.engine for cell in study.cells} == {"onnxruntime", "direct-csr"}
