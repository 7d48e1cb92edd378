"""A factory or an option of bench that cannot be used is one line, before anything is measured."""

from __future__ import annotations

from pathlib import Path

import pytest

from sparsemark.cli import main
from tests.cli.small_bench import bench


@pytest.fixture
def refused_by_argparse(capsys):
    """The same for what argparse finds: usage, then the error."""

    def call(*arguments):
        with pytest.raises(SystemExit) as exit_:
            main([str(argument) for argument in arguments])
        assert exit_.value.code == 2
        return capsys.readouterr().err.splitlines()[-1]

    return call


@pytest.mark.parametrize(
    ("prune", "named"),
    [
        ("magnitude:1", "sparsity 1 of 'magnitude': expected a fraction in [0, 1)"),
        ("magnitude:90", "sparsity 90 of 'magnitude'"),
        ("magnitude:-0.1", "sparsity -0.1 of 'magnitude'"),
        ("magnitude:nan", "sparsity nan of 'magnitude'"),
        ("magnitude", "--prune 'magnitude': expected METHOD:SPARSITY"),
        ("magnitude:", "--prune 'magnitude:': expected METHOD:SPARSITY"),
        ("magnitude:half", "--prune 'magnitude:half': expected METHOD:SPARSITY"),
        ("channels:0.5:x", "--prune 'channels:0.5:x': expected METHOD:SPARSITY"),
        ("magnitude:0.5:8", "round_to 8 of 'magnitude': expected none, only methods that remove channels"),
        ("magnitude:0.5,", "--prune 'magnitude:': expected METHOD:SPARSITY"),
        ("magnitude:0.5,2", "sparsity 2 of 'magnitude'"),
        ("channels:0.3,0.5+magnitude:0.8", "several sparsities in 'channels:0.3,0.5'; expected them in the last step"),
        ("channels:0.5:0", "round_to 0 of 'channels': expected a whole number from 1"),
        ("magnitud:0.5", "unknown pruner 'magnitud'; did you mean 'magnitude'?"),
        (":0.5", "unknown pruner ''"),
        ("none:0.5", "sparsity 0.5 of 'none'"),
    ],
)
def test_a_prune_option_is_malformed(prune, named, here, refused):
    assert named in refused(*bench("networks.py:build", "--input", "1,3,8,8", "--prune", prune))


@pytest.mark.parametrize(
    ("more", "named"),
    [
        (("--engine", "torch", "--engine", "onxruntime"), "unknown engine 'onxruntime'; did you mean 'onnxruntime'?"),
        (("--rounds", "0"), "rounds 0: expected a whole number from 1"),
        (("--input", "1,0,4,4"), "input shape (1, 0, 4, 4): expected positive sizes"),
    ],
)
def test_an_option_is_out_of_range_before_anything_is_measured(more, named, here, refused):
    given = () if "--input" in more else ("--input", "1,3,8,8")
    assert named in refused(*bench("networks.py:build", *given, *more))
    assert not list(Path.cwd().glob("out.json*"))


@pytest.mark.parametrize(
    ("reference", "named"),
    [
        ("networks.py", "'networks.py': expected file.py:factory, package.module:factory or model.onnx"),
        ("networks.py:", "'networks.py:': expected file.py:factory"),
        ("nowhere.py:build", "nowhere.py: no such file"),
        ("nowhere.module:build", "nowhere.module: importing it failed: ModuleNotFoundError"),
        ("broken.py:build", "broken.py: importing it failed: ZeroDivisionError"),
        ("unparsable.py:build", "unparsable.py: importing it failed: SyntaxError"),
        ("networks.py:biuld", "networks.py: unknown factory 'biuld'; did you mean 'build'?"),
        ("networks.py:NUMBER", "networks.py:NUMBER: expected something to call, found int"),
        ("networks.py:needs_width", "networks.py:needs_width: the factory needs width"),
        ("networks.py:fails", "networks.py:fails: the factory failed: RuntimeError: out of luck"),
        ("networks.py:leaves", "networks.py:leaves: the factory failed: SystemExit: 7"),
        ("networks.py:makes_a_list", "expected the factory to return a torch.nn.Module, got list"),
    ],
)  # fmt: skip
def test_a_factory_cannot_be_used(reference, named, here, refused):
    Path("broken.py").write_text("1 / 0\n")
    Path("unparsable.py").write_text("def build(:\n")
    assert named in refused(*bench(reference, "--input", "1,3,8,8"))


def test_an_input_shape_does_not_fit_and_the_network_says_why(here, refused):
    line = refused(*bench("networks.py:fits_eight", "--input", "1,3,9,9"))
    assert "networks.py:fits_eight: input 1,3,9,9 does not fit this network" in line
    assert "192" in line, "what the network said"


@pytest.mark.parametrize(
    ("option", "value"),
    [
        *(("--input", "1,three"), ("--input", ""), ("--rounds", "many"), ("--threads", "1.5"), ("--threads", "0")),
        *(("--threads", "1,"), ("--batch", "0,8"), ("--batch", "many"), ("--precision", "int4")),
    ],
)
def test_an_option_is_not_a_number(option, value, here, refused_by_argparse):
    assert f"argument {option}: " in refused_by_argparse(*bench("networks.py:build", option, value))


def test_what_a_network_takes_is_asked_for(here, refused):
    line = refused(*bench("networks.py:build"))
    assert "networks.py:build: no --input; expected the sizes of one call, batch first, such as --input 1,3,2" in line
    assert not list(Path.cwd().glob("out.json*"))


def test_a_command_is_unknown(refused_by_argparse):
    assert "COMMAND" in refused_by_argparse("bnech")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("bench", "networks.py:build", "--prunes", "magnitude:0.5"), "--prunes magnitude:0.5; did you mean --prune?"),
        (("report", "run.json", "--formt=csv"), "--formt=csv; did you mean --format?"),
        (("report", "run.json", "--xyz"), "--xyz"),
    ],
)
def test_an_unknown_option_is_refused_with_the_usage_of_its_command_and_the_nearest(words, said, capsys):
    with pytest.raises(SystemExit) as exit_:
        main(words)
    assert exit_.value.code == 2
    first, *_, last = capsys.readouterr().err.splitlines()
    assert first.startswith(f"usage: sparsemark {words[0]} ")
    assert last == f"sparsemark {words[0]}: error: unrecognized arguments: {said}"


@pytest.mark.parametrize("more", [(), ("--input", "1,3,8,8")])
@pytest.mark.parametrize(
    ("file", "load"),
    [
        ("best.pt", "torch.load('best.pt', weights_only=True)"),
        ("best.pth:build", "torch.load('best.pth', weights_only=True)"),
        ("net.safetensors", "safetensors.torch.load_file('net.safetensors')"),
    ],
)
def test_a_file_of_weights_is_no_model_and_how_to_wrap_it_is_shown(file, load, more, here, refused):
    path = file.partition(":")[0]
    line = refused(*bench(file, *more))
    assert f"{path}: holds weights, not the code that runs them; expected FILE.py:build" in line
    assert f"net.load_state_dict({load}); return net" in line


@pytest.mark.parametrize("out", ["file/out.json", "folder"])
def test_the_result_cannot_be_written_and_nothing_is_measured_in_vain(out, here, refused, quick, measured):
    Path("file").touch()
    Path("folder").mkdir()
    line = refused("bench", "networks.py:build", "--input", "1,3,8,8", "--json", out)
    assert f"{out}: cannot be written" in line
    assert measured == []
