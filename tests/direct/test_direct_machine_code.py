"""The interpreter's machine code: kept whole or compiled again, and all that a remembered network needs."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import sparsemark
from sparsemark import direct, paths
from sparsemark.direct import target
from sparsemark.direct.fingerprint import fingerprint
from sparsemark.direct.kernels.interpreter import ENTRIES
from sparsemark.direct.network import Network
from sparsemark.direct.runtime import compilation, machine_code, object_file
from sparsemark.direct.target import PROCESSOR
from sparsemark.engines import direct_csr
from sparsemark.errors import UnsupportedError
from sparsemark.files import code_digest
from tests.direct.graphs import Layer, Prepared, expected
from tests.small_networks import artifact, images

SOURCE = Path(sparsemark.__file__).parents[1]


@pytest.fixture(scope="module")
def code():
    """What is kept on this machine, compiled if need be."""
    key = machine_code._key()
    return machine_code._kept(paths.machine_code(key), key) or machine_code._compile()


@pytest.fixture
def kept(code, tmp_path, monkeypatch):
    """The only file in a cache that holds the machine code, which this process has not loaded yet."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert target.this_processor() == PROCESSOR  # known there from now on
    key = machine_code._key()
    path = paths.machine_code(key)
    path.parent.mkdir(mode=0o700, parents=True)
    path.write_bytes(machine_code._digest(key, code) + code)
    machine_code.load.cache_clear()
    yield path
    machine_code.load.cache_clear()


@pytest.fixture
def compilations(code, monkeypatch):
    """Have compiling take no time; a list with an entry for each."""
    times = []

    def compiled():
        times.append(len(times))
        return code

    monkeypatch.setattr(machine_code, "_compile", compiled)
    return times


LAYER = Layer(3, 4, 9, 33, pads=(1, 1, 1, 1))
SKETCH = LAYER.sketch()
LAYER.onto(SKETCH)
GRAPH, IMAGE = SKETCH.graph(), LAYER.image()
(REFERENCE,) = expected(GRAPH, IMAGE)  # by torch, whose threads do not outlive a fork


def runs():
    """See that a network of whole numbers is computed to the last bit."""
    prepared = Prepared(GRAPH)
    (got,) = prepared.runner(next(prepared.ways()))(IMAGE)
    np.testing.assert_array_equal(got, REFERENCE)


FRESH = """
import sys
from pathlib import Path
import numpy as np
from sparsemark.direct.runtime import object_file
from sparsemark.engines import direct_csr
artifact, image, output, threads = sys.argv[1:]
outputs = direct_csr.load(Path(artifact), int(threads))(np.load(image))
np.savez(output, *outputs)
heavy = {"numba", "onnx", "onnxruntime", "pandas", "pydantic", "rich", "scipy", "torch"} & set(sys.modules)
assert not heavy, heavy
assert object_file.IS_KNOWN != ("llvmlite" in sys.modules)
"""


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("exported", [("unet", "magnitude:0.9"), ("mobile", "none")])
def test_network_that_is_remembered_needs_neither_its_compiler_nor_a_dense_engine(
    exported, threads, kept, tmp_path, monkeypatch
):
    monkeypatch.setattr(Network, "_contest", lambda *arguments: (1.0, 2.0))
    path, image = artifact(*exported, "csr").path, images(exported[0])[0]
    here = direct_csr.load(path, threads)(image)
    np.save(tmp_path / "image.npy", image)
    arguments = [path, tmp_path / "image.npy", tmp_path / "outputs.npz", threads]
    ended = subprocess.run(
        [sys.executable, "-c", FRESH, *map(str, arguments)],
        check=False, env=os.environ | {"PYTHONPATH": str(SOURCE)}, capture_output=True, text=True,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    with np.load(tmp_path / "outputs.npz") as there:
        for one, other in zip(here, there.values(), strict=True):
            np.testing.assert_array_equal(one, other)


def test_code_that_is_kept_is_taken(kept, compilations):
    before = kept.read_bytes()
    machine_code.load()
    assert not compilations
    assert kept.read_bytes() == before
    runs()


def test_threads_that_come_first_together_all_run(kept, compilations):
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: runs(), range(16)))
    assert not compilations


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a fork")
def test_process_that_is_forked_first_loads_it_itself(kept, compilations):
    child = os.fork()
    if not child:
        signal.alarm(60)  # ends it where it hangs
        try:
            runs()
        except BaseException:
            os._exit(1)
        os._exit(len(compilations))
    assert os.waitpid(child, 0)[1] == 0
    runs()


DAMAGES = {
    "missing": None,
    "empty": lambda content: b"",
    "digest alone": lambda content: content[:32],
    "cut": lambda content: content[:-1],
    "longer": lambda content: content + b"\0",
    "another byte": lambda content: content[:5000] + bytes([content[5000] ^ 1]) + content[5001:],
    "another digest": lambda content: bytes(32) + content[32:],
    "of another key": lambda content: machine_code._digest("another", content[32:]) + content[32:],
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_code_that_is_damaged_is_compiled_again_and_written_anew(damage, kept, compilations):
    before = kept.read_bytes()
    kept.unlink()
    if DAMAGES[damage]:
        kept.write_bytes(DAMAGES[damage](before))
    machine_code.load()
    assert len(compilations) == 1
    assert kept.read_bytes() == before
    runs()


def test_code_that_can_be_kept_nowhere_is_compiled_each_time_and_that_is_said(kept, compilations, monkeypatch, caplog):
    monkeypatch.setenv("XDG_CACHE_HOME", os.devnull)
    for times in (1, 2):
        machine_code.load.cache_clear()
        machine_code.load()
        assert len(compilations) == times
        runs()
        assert len(caplog.messages) == times
        assert "anew in every process: /dev/null" in caplog.messages[-1]


def test_code_of_other_sources_another_processor_or_compiler_has_another_name(tmp_path, monkeypatch):
    copy = tmp_path / "direct"
    shutil.copytree(Path(direct.__file__).parent, copy)
    digests = [fingerprint(), code_digest.__wrapped__(copy)]
    assert digests[0] == digests[1]
    for name in ("kernels/pooling.py", "lowering/convolutions.py"):
        path = copy / name
        path.write_text(path.read_text() + "\n")
        digests.append(code_digest.__wrapped__(copy))
    path.rename(path.with_stem("another"))
    digests.append(code_digest.__wrapped__(copy))
    assert len(set(digests)) == 4
    keys = {machine_code._key()}
    changes = {
        "PROCESSOR": replace(PROCESSOR, name="another"),
        "installed_version": lambda package: "0.0",
        "fingerprint": lambda: "another",
    }
    for name, change in changes.items():
        monkeypatch.setattr(machine_code, name, change)
        keys.add(machine_code._key())
    assert len(keys) == 4


def test_code_calls_nothing_of_numba_or_python(code):
    """Or it would have to hold the interpreter's lock, and what it calls would have to be loaded."""
    assert len(machine_code._objects(code)) == len(ENTRIES)
    for name in (b"NRT_", b"numba_", b"Py", b"_Py"):
        assert b"\0" + name not in code


@pytest.mark.skipif(not object_file.IS_KNOWN, reason="object code of another system")
def test_code_is_the_same_function_whoever_links_it(kept, monkeypatch):
    runs()
    monkeypatch.setattr(object_file, "IS_KNOWN", False)
    machine_code.load.cache_clear()
    runs()


@pytest.mark.skipif(not object_file.IS_KNOWN, reason="object code of another system")
def test_code_that_its_own_linker_does_not_know_is_left_to_llvm(kept, monkeypatch):
    def refused(*_):
        raise object_file.ObjectFileError("of another kind")

    monkeypatch.setattr(object_file, "link", refused)
    runs()


def program(folder, text):
    """Something to run in place of Python."""
    path = folder / "python"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


@pytest.fixture
def two_processors(monkeypatch):
    """Have two processes compile, whatever the machine."""
    monkeypatch.setattr("sparsemark.machine.placement.allowed_cpus", lambda: [0, 1])


@pytest.fixture
def interruptible():
    """Have an interrupt raise, as it does where the tests are in the foreground of a terminal."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


INTERRUPTS = """
echo $$ >"$4/$$"
if mkdir "$4/first"; then
  while [ "$(ls "$4" | grep -c '^[0-9]*$')" -lt 2 ]; do sleep 0.01; done
  cp "$4"/[0-9]* "%s"
  kill -INT $PPID
fi
exec sleep 60
"""


@pytest.mark.skipif(os.name != "posix", reason="needs a shell")
@pytest.mark.usefixtures("two_processors")
def test_where_memory_runs_out_one_process_tries_again(tmp_path, monkeypatch):
    """Of two at a time one is killed; alone it does all."""
    once = tmp_path / "once"
    text = f'if mkdir "{once}" 2>/dev/null; then kill -KILL $$; fi\necho code >"$4/$$.o"'
    monkeypatch.setattr(sys, "executable", program(tmp_path, text))
    assert machine_code._objects(machine_code._compile()) == [b"code\n"], "a file from each process"
    assert once.exists()
    monkeypatch.setattr(sys, "executable", program(tmp_path, "kill -KILL $$"))
    with pytest.raises(UnsupportedError, match="cannot be compiled: ended by signal 9"):
        machine_code._compile()


REMEMBERED = """
import hashlib, sys
from sparsemark.direct.runtime import compilation
if sys.argv[1] == "remembers":
    compilation._remember_types()
compilation.cpu_target.target_context._internal_codegen = compilation._Codegen("sparsemark")
(entry,) = [one for one in compilation.ENTRIES if compilation.symbol_of(one) == "sparsemark_softmax"]
print(hashlib.sha256(compilation._object_code(entry)).hexdigest())
"""


def test_what_is_remembered_of_types_changes_no_code():
    """A method of Numba's is replaced for it."""
    command = [sys.executable, "-c", REMEMBERED]
    environment = os.environ | {"PYTHONPATH": str(SOURCE)}
    found = [
        subprocess.run([*command, how], check=True, env=environment, capture_output=True, text=True).stdout
        for how in ("remembers", "plain")
    ]
    assert found[0]
    assert found[0] == found[1]


@pytest.mark.skipif(os.name != "posix", reason="needs a shell")
@pytest.mark.usefixtures("two_processors", "interruptible")
def test_an_interrupt_ends_all_compilers(tmp_path, monkeypatch):
    noted = tmp_path / "noted"
    noted.mkdir()
    monkeypatch.setattr(sys, "executable", program(tmp_path, INTERRUPTS % noted))
    with pytest.raises(KeyboardInterrupt):
        machine_code._compile()
    processes = [int(path.name) for path in noted.iterdir() if path.suffix != ".log"]
    assert len(processes) == 2
    for process in processes:
        with pytest.raises(ProcessLookupError):
            os.kill(process, 0)


def test_an_entry_is_compiled_by_one_of_several_processes(tmp_path, monkeypatch):
    begun = []

    def compiled(entry):
        begun.append(entry)
        time.sleep(0.01)
        return entry.encode()

    monkeypatch.setattr(compilation, "ENTRIES", [f"entry {number}" for number in range(12)])
    monkeypatch.setattr(compilation, "_object_code", compiled)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(compilation.compile_into, [tmp_path] * 4))
    assert sorted(begun) == sorted(compilation.ENTRIES)
    assert [one.decode() for one in machine_code._contents(tmp_path)] == compilation.ENTRIES


@pytest.mark.skipif(os.name != "posix", reason="needs a shell")
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("exit 3", "cannot be compiled: exit code 3"),
        ("echo first >&2\necho TypingError: no >&2\necho >&2\nexit 1", "cannot be compiled: TypingError: no"),
        ('echo nonsense >"$4/000.o"', "cannot be linked"),
        ("exit 0", "cannot be compiled: the compiler wrote nothing"),
        ('if mkdir "$4/first"; then exec sleep 60; else echo second >&2; exit 1; fi', "cannot be compiled: second"),
    ],
)
@pytest.mark.usefixtures("two_processors")
def test_compiler_that_fails_is_a_reason(text, said, kept, tmp_path, monkeypatch):
    kept.unlink()
    monkeypatch.setattr(sys, "executable", program(tmp_path, text))
    with pytest.raises(UnsupportedError, match=said) as raised:
        machine_code.load()
    assert "\n" not in str(raised.value)
    assert not kept.exists()


def test_process_that_cannot_be_started_is_a_reason(kept, tmp_path, monkeypatch):
    kept.unlink()
    monkeypatch.setattr(sys, "executable", str(tmp_path / "nothing"))
    with pytest.raises(UnsupportedError, match="cannot be compiled: No such file"):
        machine_code.load()


@pytest.mark.skipif(os.name != "posix", reason="needs a shell")
def test_compiler_is_not_told_what_is_meant_for_other_programs(tmp_path, monkeypatch):
    monkeypatch.setenv("NUMBA_DISABLE_JIT", "1")
    monkeypatch.setenv("NUMBA_OPT", "3")
    monkeypatch.setattr(sys, "executable", program(tmp_path, 'env >"$4/000.o"'))
    (told,) = machine_code._objects(machine_code._compile())
    told = told.decode().splitlines()
    assert not [line for line in told if line.startswith("NUMBA_")]


@pytest.mark.skipif(os.name != "posix", reason="needs a shell")
def test_compiler_imports_no_file_of_the_user(tmp_path, monkeypatch):
    """Numba asks for a package `coverage`, which need not be installed."""
    (tmp_path / "coverage.py").write_text("")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    # Another name, or `_compiled_once` would return what is compiled already.
    monkeypatch.setattr(sys, "executable", program(tmp_path, f'exec "{sys.executable}" "$@"'))
    monkeypatch.setattr("sparsemark.machine.placement.allowed_cpus", lambda: [0])
    assert len(machine_code._objects(machine_code._compile())) == len(ENTRIES), "all of them, by one process as well"


@pytest.mark.skipif(sys.platform == "win32", reason="modes of POSIX")
@pytest.mark.parametrize("which", ["file", "folder", "cache"])
def test_code_that_others_can_write_is_not_run(which, kept, compilations, caplog):
    """Its content may be what was written or not: whoever can write it can write the digest in it as well."""
    loose = {"file": kept, "folder": kept.parent, "cache": kept.parent.parent}[which]
    loose.chmod(0o777)
    machine_code.load()
    assert len(compilations) == 1
    assert f"direct-csr: {kept}: not run, compiled again: another user owns it or can change it" in caplog.text
    runs()
    modes = [one.stat().st_mode & 0o777 for one in (kept, kept.parent, kept.parent.parent)]
    assert modes[0] == 0o600
    assert not any(one & 0o022 for one in modes)
    machine_code.load.cache_clear()
    machine_code.load()
    assert len(compilations) == 1, "what was compiled again is kept"


@pytest.mark.skipif(sys.platform == "win32", reason="users of POSIX")
def test_code_of_another_user_is_not_run(kept, compilations, monkeypatch, caplog):
    monkeypatch.setattr("sparsemark.files.os.geteuid", lambda: os.getuid() + 1)
    before = kept.read_bytes()
    machine_code.load()
    assert len(compilations) == 1
    assert "compiled anew in every process" in caplog.text
    assert kept.read_bytes() == before


@pytest.mark.skipif(sys.platform == "win32", reason="modes of POSIX")
def test_a_new_cache_is_its_users_alone(kept, compilations, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "new"))
    before = os.umask(0)
    try:
        machine_code.load()
        memory = paths.decisions()
        Network(GRAPH, 1, memory, lambda *arguments: lambda image: (REFERENCE,)).plan(IMAGE.shape)
    finally:
        os.umask(before)
    found = {path: path.stat().st_mode & 0o777 for path in (tmp_path / "new" / "sparsemark").rglob("*")}
    assert (tmp_path / "new" / "sparsemark").stat().st_mode & 0o777 == 0o700
    assert {path.parent.name for path in found if path.is_file()} == {"compiled", "direct", "layers"}
    assert all(mode == (0o600 if path.is_file() else 0o700) for path, mode in found.items())
