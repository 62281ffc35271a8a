"""The cache of machine code: what is compiled once stays compiled, and nothing damaged or foreign is run."""

import fcntl
import hashlib
import json
import os
import pickle
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from minidl import kernels
from minidl.kernels._passes import over_rows

ROOT = Path(__file__).resolve().parents[2]
PIPES = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
_jit = kernels._jit

# A minidl of one kernel around the _jit.py under test, quickly compiled: y = x + 1.
SOURCES = {
    "minidl/__init__.py": "",
    "minidl/kernels/__init__.py": "",
    "minidl/kernels/helper.py": "from ._jit import inline\n\n@inline\ndef change(v):\n    return v + 1\n",
    "minidl/kernels/kernel.py": """
from ._jit import jit, prange
from .helper import change

@jit
def kernel(x, y):
    for i in prange(x.size):
        y[i] = change(x[i])
""",
}
IMPORT = """
import json, os, pathlib, shutil, sys, time, warnings
caught = warnings.catch_warnings(record=True).__enter__()
warnings.simplefilter("always")
import numpy as np
from minidl.kernels import _jit
from minidl.kernels.kernel import kernel
"""
CALL = """
y = np.empty(3, "float32")
kernel(np.array([1, 2, 3], "float32"), y)
"""
REPORT = """
stats = getattr(kernel, "stats", None)
print(json.dumps({
    "result": y.tolist(),
    "compiled": stats and sum(stats.cache_misses.values()),
    "loaded": stats and sum(stats.cache_hits.values()),
    "folder": str(_jit.cache_directory()),
    "warnings": [f"{w.category.__name__}: {w.message}" for w in caught],
}))
"""


class House:
    """Runs code in processes that share a cache and nothing else."""

    def __init__(self, folder, sources=SOURCES):
        self.folder, self.cache = folder, folder / "cache"
        for name, text in sources.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text)
        for name in ("_cache_root.py", "_jit.py"):
            shutil.copy(ROOT / "kernels" / name, folder / "minidl" / "kernels")

    def start(self, code=IMPORT + CALL + REPORT, **environment):
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(("NUMBA_", "PYTHON", "XDG_"))}
        paths = {"MINIDL_CACHE": str(self.cache), "PYTHONPATH": str(self.folder), "PYTHONDONTWRITEBYTECODE": "1"}
        return subprocess.Popen(
            [sys.executable, "-c", code],
            cwd=self.folder,
            env=inherited | paths | environment,
            **PIPES,
        )

    def run(self, *code, **environment):
        return self.finish(self.start(*code, **environment))

    @staticmethod
    def finish(process):
        try:
            out, errors = process.communicate(timeout=60)
        finally:
            process.kill()
        assert process.returncode == 0, errors
        return json.loads(out.splitlines()[-1])

    def file(self):
        """The one file of machine code."""
        (file,) = self.cache.glob("jit/*/kernel.kernel-*")
        return file


@pytest.fixture
def house(tmp_path):
    return House(tmp_path)


@pytest.fixture(scope="module")
def used(tmp_path_factory):
    """A house whose kernel has been compiled; for tests that leave it so."""
    house = House(tmp_path_factory.mktemp("used"))
    house.first = house.run()
    return house


def test_compiled_once(used):
    assert used.first == {
        "result": [2, 3, 4],
        "compiled": 1,
        "loaded": 0,
        "folder": str(used.file().parent),
        "warnings": [],
    }
    assert used.run() == used.first | {"compiled": 0, "loaded": 1}


def test_a_kernel_is_compiled_against_one_from_a_file(used):
    """Which is loaded as machine code alone, and has to show LLVM's code then."""
    outer = """
@_jit.jit
def outer(x, y):
    kernel(x, y)
    kernel(y, y)

x, y = np.array([1, 2, 3], "float32"), np.empty(3, "float32")
kernel(x, y)
(of_kernel,) = [compiled.library for compiled in kernel.overloads.values()]
before = of_kernel._shared_module is None
outer(x, y)
print(json.dumps([before, of_kernel._shared_module is None, sum(kernel.stats.cache_hits.values()), y.tolist()]))
"""
    assert used.run(IMPORT + outer) == [True, False, 1, [3, 4, 5]]


def test_kernels_of_minidl_are_compiled_once(tmp_path):
    code = """
import json, sys, numpy as np
from minidl.kernels import channel_sum, relu
x, y, sums = np.arange(-3, 3, dtype="float32"), np.empty(6, "float32"), np.empty(2, "float32")
relu.forward(x, y)
channel_sum.forward(y.reshape(3, 2), sums)
used = relu._forward_cpu, channel_sum._blocks
print(json.dumps([y.tolist(), sums.tolist(), [[sum(counts.values()) for counts in k.stats[1:]] for k in used]]))
"""
    environment = os.environ | {"MINIDL_CACHE": str(tmp_path)}
    for loaded, compiled in (0, 1), (1, 0):
        ran = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, env=environment, **PIPES)
        assert House.finish(ran) == [[0, 0, 0, 0, 1, 2], [1, 2], [[loaded, compiled]] * 2]


def signed(payload):
    return _jit._MAGIC + hashlib.sha256(payload).digest() + payload


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: content[: len(content) // 2],
        lambda content: content[:5000] + bytes([content[5000] ^ 1]) + content[5001:],
        lambda content: bytes(range(256)) * 100,
        lambda content: content.replace(b"machine code 1", b"machine code 2"),
        lambda content: signed(b"no pickle"),
        lambda content: signed(pickle.dumps("a pickle of something else")),
    ],
    ids=["empty", "half", "flipped bit", "garbage", "header", "text", "string"],
)
def test_damaged_file_is_compiled_again(used, damage):
    file = used.file()
    whole = file.read_bytes()
    damaged = damage(whole)
    assert damaged != whole
    try:
        file.write_bytes(damaged)
        assert used.run() == used.first
        repaired = file.read_bytes()
        assert repaired == signed(repaired[len(_jit._MAGIC) + 32 :])
        assert len(repaired) > len(whole) // 2
    finally:
        file.write_bytes(whole)


def test_repaired_file_is_loaded(used):
    file = used.file()
    file.write_bytes(file.read_bytes()[:-1])
    assert used.run()["compiled"] == 1
    assert used.run() == used.first | {"compiled": 0, "loaded": 1}


def test_file_that_others_may_write_is_not_run(used):
    used.file().chmod(0o666)
    assert used.run() == used.first
    assert used.file().stat().st_mode & 0o777 == 0o600


def test_edit_of_a_helper_is_seen(house):
    before = house.run()
    helper = house.folder / "minidl/kernels/helper.py"
    helper.write_text(helper.read_text().replace("v + 1", "v + 2"))
    after = house.run()
    assert (after["result"], after["compiled"]) == ([3, 4, 5], 1)
    assert after["folder"] != before["folder"]


def test_key_covers_every_source(tmp_path):
    shutil.copytree(ROOT / "kernels", tmp_path / "minidl" / "kernels", ignore=shutil.ignore_patterns("__pycache__"))
    house = House(tmp_path, {"minidl/__init__.py": ""})
    code = """
import json
from pathlib import Path
from minidl.kernels import _jit
folder = Path(_jit.__file__).parent
keys = {"nothing": _jit._key()}
for source in folder.rglob("*.py"):
    text = source.read_bytes()
    source.write_bytes(text + b"# edited")
    keys[str(source.relative_to(folder))] = _jit._key()
    source.write_bytes(text)
relu = folder / "relu.py"
relu.rename(folder / "relu2.py")
keys["another name"] = _jit._key()
(folder / "relu2.py").rename(relu)
(folder / "new.py").touch()
keys["new file"] = _jit._key()
(folder / "new.py").unlink()
assert _jit._key() == keys["nothing"]
print(json.dumps(keys))
"""
    keys = house.run(code)
    assert {"nothing", "_jit.py", "relu.py", "conv2d/__init__.py"} < keys.keys()
    assert len(set(keys.values())) == len(keys)


def test_key_covers_the_processor(used):
    """A home directory may be shared by machines, and NUMBA_CPU_NAME compiles for another."""
    told = "print(json.dumps(_jit.cache_directory().name))"
    assert used.run(IMPORT + told, NUMBA_NUM_THREADS="1") == used.file().parent.name
    others = [{"NUMBA_CPU_NAME": "generic"}, {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": ""}]
    others += [{"NUMBA_OPT": "0"}]
    assert len({used.file().parent.name, *(used.run(IMPORT + told, **e) for e in others)}) == 4


def test_key_covers_what_no_variable_says(used):
    code = """
keys = [_jit._key()]
codegen = type(_jit.cpu_target.target_context.codegen())
codegen.magic_tuple = lambda self, found=codegen.magic_tuple: (*found(self)[:2], "+another feature")
keys.append(_jit._key())
_jit.numba.__version__ += "1"
keys.append(_jit._key())
_jit.llvmlite.__version__ += "1"
keys.append(_jit._key())
print(json.dumps(keys))
"""
    assert len(set(used.run(IMPORT + code))) == 4


def test_processes_that_start_together_compile_once(house):
    wait = """
pathlib.Path(f"ready{os.getpid()}").touch()
while not os.path.exists("go"):
    time.sleep(0.01)
"""
    processes = [house.start(IMPORT + wait + CALL + REPORT) for _ in range(2)]
    give_up = time.monotonic() + 60
    while len(list(house.folder.glob("ready*"))) < len(processes):
        assert time.monotonic() < give_up and all(p.poll() is None for p in processes)
        time.sleep(0.01)
    (house.folder / "go").touch()
    told = [house.finish(p) for p in processes]
    assert [t["result"] for t in told] == [[2, 3, 4]] * 2
    assert sorted((t["compiled"], t["loaded"]) for t in told) == [(0, 1), (1, 0)]


def test_different_kernels_are_compiled_side_by_side(house):
    other = house.folder / "minidl/kernels/other.py"
    other.write_text(SOURCES["minidl/kernels/kernel.py"].replace("kernel(", "other("))
    call = {name: f"from minidl.kernels.{name} import {name} as kernel{CALL}" for name in ("kernel", "other")}
    folder = Path(house.run(IMPORT + call["kernel"] + REPORT)["folder"])
    house.file().unlink()
    (lock,) = (folder / "locks").iterdir()
    with open(lock) as opened:  # as if another process compiled the kernel
        fcntl.flock(opened, fcntl.LOCK_EX)
        waits = house.start(IMPORT + call["kernel"] + REPORT)
        try:
            assert house.run(IMPORT + call["other"] + REPORT)["compiled"] == 1
            with pytest.raises(subprocess.TimeoutExpired):
                waits.wait(timeout=3)
        finally:
            fcntl.flock(opened, fcntl.LOCK_UN)
    assert house.finish(waits)["compiled"] == 1


def assert_works_uncached(told):
    assert (told["result"], told["compiled"], told["loaded"], told["folder"]) == ([2, 3, 4], 1, 0, "None")
    (warning,) = told["warnings"]
    assert warning.startswith("RuntimeWarning: ")
    assert "MINIDL_CACHE" in warning


@pytest.mark.skipif(os.getuid() == 0, reason="root may write everywhere")
def test_read_only_cache(house):
    house.cache.mkdir(mode=0o500)
    assert_works_uncached(house.run())


def test_cache_where_no_folder_can_be(house):
    house.cache.write_text("a file is in the way")
    assert_works_uncached(house.run())


def test_cache_of_another_user(used):
    other = "import os\nmine = os.getuid()\nos.getuid = lambda: mine + 1\n"
    assert_works_uncached(used.run(other + IMPORT + CALL + REPORT))


@pytest.mark.parametrize("mode", [0o777, 0o770])
def test_cache_that_others_may_write_to(used, mode):
    folder = used.file().parent
    folder.chmod(mode)
    try:
        assert_works_uncached(used.run())
    finally:
        folder.chmod(0o700)


def test_no_home(house):
    lost = "import pathlib\ndef lost(self):\n    raise RuntimeError('no home')\npathlib.Path.expanduser = lost\n"
    assert_works_uncached(house.run(lost + IMPORT + CALL + REPORT, MINIDL_CACHE=""))


def test_relative_cache(house):
    """The folder is meant from where the process started."""
    told = house.run(IMPORT + "os.chdir('minidl')" + CALL + REPORT, MINIDL_CACHE="cache")
    assert (told["compiled"], told["warnings"]) == (1, [])
    assert house.file().exists()


def test_cache_that_is_deleted_meanwhile(house):
    told = house.run(IMPORT + "shutil.rmtree(_jit.cache_directory())" + CALL + REPORT)
    assert (told["result"], told["compiled"]) == ([2, 3, 4], 1)
    assert "could not be kept" in told["warnings"][0]


def test_old_keys_are_forgotten(house):
    """All but four, the least recently used first, and nothing that is not ours."""
    jit = house.cache / "jit"
    for age in range(6):
        folder = jit / f"{age:032x}"
        folder.mkdir(parents=True)
        (folder / "locks").mkdir()
        os.utime(folder, (1e9 - age, 1e9 - age))
    (jit / "a folder of the user's").mkdir()
    os.utime(jit / "a folder of the user's", (0, 0))
    current = Path(house.run()["folder"])
    assert set(jit.iterdir()) == {current, jit / "a folder of the user's", *(jit / f"{age:032x}" for age in range(4))}
    os.utime(current, (0, 0))
    house.run()
    assert current.stat().st_mtime > 1e9


def test_failed_compilation_releases_the_lock(house):
    code = """
import fcntl
from minidl.kernels.broken import broken
try:
    broken(np.ones(3), np.ones(3))
except _jit.numba.TypingError:
    pass
else:
    raise SystemExit("broken was compiled")
(lock,) = (_jit.cache_directory() / "locks").iterdir()
with open(lock) as opened:
    fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
"""
    broken = SOURCES["minidl/kernels/kernel.py"].replace("kernel(", "broken(").replace("change(x[i])", "x[i].nothing")
    (house.folder / "minidl/kernels/broken.py").write_text(broken)
    told = house.run(IMPORT + code + CALL + REPORT)
    assert (told["result"], told["compiled"], told["warnings"]) == ([2, 3, 4], 1, [])


def test_fork_does_not_keep_the_lock(house):
    code = """
import fcntl, signal
with _jit._compiling(_jit.cache_directory() / "kernel"):
    child = os.fork()
    if child == 0:
        time.sleep(60)
        os._exit(0)
try:
    with open(_jit.cache_directory() / "locks" / "kernel") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
finally:
    os.kill(child, signal.SIGKILL)
print("true")
"""
    assert house.run(IMPORT + code) is True


def test_addresses_are_not_kept(house):
    """numba compiles the address of a large global array into the code, which is wrong in the next process."""
    kernel = house.folder / "minidl/kernels/kernel.py"
    text = SOURCES["minidl/kernels/kernel.py"].replace("change(x[i])", "change(x[i]) * TABLE[i]")
    kernel.write_text("import numpy as np\nTABLE = np.full(300_000, 2.0)\n" + text)
    for _ in range(2):
        told = house.run()
        assert (told["result"], told["compiled"]) == ([4, 6, 8], 1)
        assert told["warnings"] == ["RuntimeWarning: kernel.kernel holds addresses, so every start compiles it"]
    assert not list(house.cache.glob("jit/*/kernel.kernel-*"))


def test_sources_that_the_key_does_not_cover_are_not_kept(house):
    """An edit of them would not be seen."""
    kernel = house.folder / "minidl/kernels/kernel.py"
    (house.folder / "elsewhere.py").write_text(kernel.read_text().replace("from .", "from minidl.kernels."))
    kernel.write_text("from elsewhere import kernel")
    for _ in range(2):
        assert house.run()["compiled"] == 1


def test_kernels_run_without_compiler(house):
    told = house.run(NUMBA_DISABLE_JIT="1")
    assert (told["result"], told["compiled"]) == ([2, 3, 4], None)


def test_nested_kernel_is_refused():
    """Two of them may differ in the values they enclose, and share a name."""

    def nested(x):
        return x

    with pytest.raises(TypeError, match="test_nested_kernel_is_refused.<locals>.nested"):
        _jit.jit(nested)


# A minidl whose kernel calls shared code: y = x + 1 by an instruction of LLVM's.
SHARED = SOURCES | {
    "minidl/kernels/helper.py": """
from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from ._jit import shared

def emit(builder, signature, args):
    at = builder.inttoptr(args[1], ir.FloatType().as_pointer())
    builder.store(builder.fadd(builder.load(at), ir.FloatType()(1)), at)

@intrinsic
def change(context, kind, at):
    return shared(types.void(kind, types.intp), emit)
""",
    "minidl/kernels/kernel.py": """
from ._jit import jit, prange
from .helper import change

@jit
def kernel(x, y):
    y[:] = x
    for i in prange(x.size):
        change(y[i], y.ctypes.data + y.itemsize * i)
""",
}


@pytest.fixture(scope="module")
def sharing(tmp_path_factory):
    house = House(tmp_path_factory.mktemp("sharing"), SHARED)
    house.first = house.run()
    (house.shared,) = house.cache.glob("jit/*/helper.emit.float32")
    return house


def test_shared_code_is_kept(sharing):
    """The address that a kernel calls is another one in each process."""
    assert (sharing.first["result"], sharing.first["warnings"]) == ([2, 3, 4], [])
    before = sharing.shared.stat().st_mtime_ns
    told = sharing.run(IMPORT + "_jit._emit_library = None\n" + CALL + REPORT)
    assert told == sharing.first | {"compiled": 0, "loaded": 1}
    assert sharing.shared.stat().st_mtime_ns == before


@pytest.mark.parametrize("damage", [Path.unlink, lambda file: file.write_bytes(b"")], ids=["missing", "empty"])
def test_shared_code_that_is_damaged_is_compiled_again(sharing, damage):
    whole = sharing.shared.read_bytes()
    damage(sharing.shared)
    assert sharing.run() == sharing.first | {"compiled": 0, "loaded": 1}
    assert len(sharing.shared.read_bytes()) > len(whole) // 2


def test_shared_code_without_a_cache(house):
    house = House(house.folder, SHARED)
    house.cache.write_text("a file is in the way")
    assert_works_uncached(house.run())


def test_the_name_of_a_pass_is_taken_once():
    """Its code is kept under the name: another pass would be given it."""
    with pytest.raises(ValueError, match="a pass named 'relu' is already defined"):
        over_rows("relu", (0,), (), (), (1,), lambda *arguments: ([], []))
