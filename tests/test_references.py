"""A user's model is found by its reference, or the error says what was looked for, where, and what is there."""

from __future__ import annotations

import itertools
import sys
import textwrap

import pytest
import torch

from sparsemark.errors import UserError
from sparsemark.networks.factory import build_model, check_input, example_inputs, name_of
from sparsemark.networks.onnx_model import onnx_inputs
from sparsemark.networks.outputs import output_tensors
from sparsemark.references import load_file, nearest, one_line, resolve, root_cause
from sparsemark.specs import ModelSpec

FACTORY = "from torch import nn\ndef build():\n    return nn.Linear(3, 2)\n"


@pytest.fixture(autouse=True)
def _own_imports(monkeypatch, tmp_path):
    """Leave no test's modules or folders behind."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(tmp_path)
    yield
    own = [name for name, module in sys.modules.items() if str(tmp_path) in str(getattr(module, "__file__", ""))]
    for name in own:
        del sys.modules[name]


def write(path, code):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(textwrap.dedent(code))
    return path


def error_of(reference):
    with pytest.raises(UserError) as caught:
        build_model(ModelSpec("m", reference, (1, 3)))
    line = str(caught.value)
    assert "\n" not in line
    return line


def test_factory_of_a_file(tmp_path):
    path = write(tmp_path / "mine.py", FACTORY)
    assert isinstance(build_model(ModelSpec("m", f"{path}:build", (1, 3))), torch.nn.Linear)


def test_factory_of_a_package_in_the_working_directory(tmp_path):
    write(tmp_path / "package_of_mine" / "network.py", FACTORY)
    assert isinstance(resolve("package_of_mine.network:build")(), torch.nn.Linear)


def test_file_may_import_its_neighbours_and_hold_dataclasses(tmp_path):
    write(tmp_path / "neighbour_of_mine.py", "WIDTH = 3\n")
    code = """
        from __future__ import annotations
        import dataclasses
        from neighbour_of_mine import WIDTH
        @dataclasses.dataclass
        class Options:
            width: int = WIDTH
        def build():
            return Options().width
    """
    assert resolve(f"{write(tmp_path / 'mine.py', code)}:build")() == 3


def test_file_may_import_the_package_that_it_is_part_of_from_the_working_directory(tmp_path, monkeypatch):
    package = tmp_path / "owned"
    package.mkdir()
    (package / "blocks.py").write_text("def block():\n    return 7\n")
    (package / "net.py").write_text("from owned.blocks import block\n\ndef build():\n    return block()\n")
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(tmp_path)
    assert resolve("owned/net.py:build")() == 7


def test_two_files_of_one_name_in_different_folders_are_two(tmp_path):
    one = write(tmp_path / "one" / "model.py", "def build():\n    return 1\n")
    two = write(tmp_path / "two" / "model.py", "def build():\n    return 2\n")
    assert [resolve(f"{path}:build")() for path in (one, two, one)] == [1, 2, 1]


@pytest.mark.parametrize("name", ["2-fast.v1.py", "net-é.py", "a b.py"])
def test_the_module_of_a_file_has_a_plain_name_whatever_its_path(tmp_path, name):
    """TorchScript makes class names of it, and pnnx aborts on anything else."""
    path = write(tmp_path / "my-nets.d" / name, FACTORY + "\nclass Mine:\n    pass\n")
    module = load_file(path)
    assert module.Mine.__module__ == module.__name__
    assert module.__name__.isidentifier()
    assert module.__name__.isascii()


def test_file_is_imported_once(tmp_path):
    path = write(tmp_path / "mine.py", "def build():\n    return 1\n")
    assert resolve(f"{path}:build") is resolve("mine.py:build")


def test_file_that_failed_can_be_tried_again(tmp_path):
    path = write(tmp_path / "mine.py", "oops\n")
    with pytest.raises(UserError, match="NameError"):
        resolve(f"{path}:build")
    write(path, "def build():\n    return 1  # a longer file, so that no cached byte code is taken for it\n")
    assert resolve(f"{path}:build")() == 1


@pytest.mark.parametrize("reference", ["model.onnx", "model.py", "", ":", ":build", "mine.py:", "package.module"])
def test_reference_of_another_form_says_which_are_expected(reference):
    assert "expected file.py:factory, package.module:factory or model.onnx" in error_of(reference)


def test_missing_file_is_named():
    assert error_of("nowhere/mine.py:build") == "nowhere/mine.py: no such file"


def test_missing_module_is_named():
    assert "no_such_package.of_mine: importing it failed: ModuleNotFoundError" in error_of(
        "no_such_package.of_mine:build"
    )


def test_unknown_factory_gets_file_nearest_name_and_what_there_is(tmp_path):
    path = write(tmp_path / "mine.py", "def build_small(): ...\ndef other(): ...\n_hidden = print\n")
    line = error_of(f"{path}:build_smal")
    assert line == f"{path}: unknown factory 'build_smal'; did you mean 'build_small'? (known: build_small, other)"


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("raise ValueError('one\\ntwo')", "importing it failed: ValueError: one two"),
        ("import sys\nsys.exit(3)", "importing it failed: SystemExit: 3"),
        ("def build(:", "importing it failed: SyntaxError"),
        ("build = 3", "expected something to call, found int"),
        ("def build(width, *, depth, size=1): ...", "the factory needs width, depth; expected one that takes no arg"),
        ("def build():\n    raise RuntimeError('one\\ntwo')", "the factory failed: RuntimeError: one two"),
        ("def build():\n    return 'text'", "expected the factory to return a torch.nn.Module, got str"),
        ("build = dict", "expected the factory to return a torch.nn.Module, got dict"),
    ],
)
def test_what_is_wrong_with_a_factory_is_one_line_that_names_its_file(tmp_path, code, said):
    line = error_of(f"{write(tmp_path / 'mine.py', code)}:build")
    assert line.startswith(str(tmp_path / "mine.py"))
    assert said in line


def test_factory_with_options_is_called_without_them(tmp_path):
    path = write(
        tmp_path / "mine.py",
        "from torch import nn\ndef build(width=3, *args, **options):\n    return nn.Linear(width, 2)",
    )
    assert build_model(ModelSpec("m", f"{path}:build", (1, 3))).in_features == 3


def test_nearest_says_nothing_where_nothing_is_near():
    assert nearest("zzz", ["build"], "factory") == "unknown factory 'zzz' (known: build)"


def raised(*errors):
    """The first of these errors, each caused by the next."""
    for error, cause in itertools.pairwise(errors):
        error.__cause__ = cause
    return errors[0]


def test_an_error_in_one_line_has_its_type_and_all_its_words():
    assert one_line(ValueError("one\n  two\tthree")) == "ValueError: one two three"


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("alone"), "ValueError: alone"),
        (
            raised(RuntimeError("advice"), KeyError("more"), TypeError("\n\n  the cause\nits trace")),
            "TypeError: the cause",
        ),
        (raised(RuntimeError("advice"), ValueError("\x1b[1;31mred\x1b[0m words")), "ValueError: red words"),
        (raised(RuntimeError("advice"), AssertionError()), "AssertionError: "),
    ],
)
def test_the_root_cause_of_an_error_is_the_first_line_of_the_last_in_the_chain(error, line):
    assert root_cause(error) == line


def test_input_that_does_not_fit_is_one_line():
    with pytest.raises(UserError, match="m:f: input 1,4 does not fit this network: mat1 and mat2") as caught:
        check_input(torch.nn.Linear(3, 2), ModelSpec("m", "m:f", (1, 4)))
    assert "\n" not in str(caught.value)


def test_example_is_the_same_every_time_and_leaves_the_generator_alone():
    state = torch.random.get_rng_state()
    model = ModelSpec("m", "m:f", (2, 3))
    assert all(map(torch.equal, example_inputs(model), example_inputs(model)))
    assert torch.equal(state, torch.random.get_rng_state())


@pytest.mark.parametrize(
    ("reference", "name"),
    [("a/b.py:build", "build"), ("p.q:Net", "Net"), ("dir/my-net v2.onnx", "my_net_v2"), ("m.onnx", "m")],
)
def test_name_for_tables_is_one_that_a_spec_takes(reference, name):
    assert ModelSpec(name_of(reference), reference, (1,)).name == name


def test_only_tensors_count_as_outputs():
    tensors = [torch.zeros(1), torch.ones(2)]
    assert output_tensors({"a": tensors[0], "b": (None, [tensors[1], 3])}) == tensors


def test_onnx_file_that_is_none_is_one_line(tmp_path):
    (tmp_path / "m.onnx").write_bytes(b"no model at all")
    for name in ("m.onnx", "missing.onnx"):
        with pytest.raises(UserError, match=name) as caught:
            onnx_inputs(name)
        assert "\n" not in str(caught.value)
