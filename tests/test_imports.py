"""Who may import whom, read from the sources."""

import ast
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

TOP = {"bench", "train", "data", "explain", "cli", "__main__"}  # may import all that is below them, and each other
# What stands below them, and what of minidl each may import. A new module or package right inside minidl/ is entered.
MAY_IMPORT = {
    "kernels": set(),
    "_version": set(),
    "random": set(),
    "cuda": {"kernels"},
    "tensor": {"cuda", "function", "autograd", "views"},
    "function": {"cuda", "tensor"},
    "autograd": {"checkpoint", "cuda", "function", "kernels", "tensor"},
    "checkpoint": {"function", "random", "tensor"},
    "views": {"function", "tensor", "ops"},  # ops late: how a change in place is differentiated
    "serialization": {"tensor"},
    "gradcheck": {"autograd", "cuda", "function", "tensor", "ops", "random"},
    "ops": {"autograd", "cuda", "function", "tensor", "kernels", "random"},
    "nn": {"cuda", "function", "tensor", "ops", "random"},
    "optim": {"kernels", "tensor"},
    "models": {"nn", "ops", "random", "serialization", "tensor"},
    "amp": {"cuda", "function", "kernels", "tensor"},
    "trace": {"function", "tensor"},
    "plan": {"function", "nn", "random", "tensor", "trace"},
    "inference": {"cuda", "kernels", "nn", "ops", "plan", "tensor", "trace"},
    "onnx": {"serialization", "tensor", "trace"},
}
KERNELS_MAY_IMPORT = {"cupy", "llvmlite", "numba", "numpy", *sys.stdlib_module_names}
KNOT = {"minidl.function", "minidl.tensor"}  # the one cycle
LATE = {"click", "cupy", "matplotlib", "mpi4py", "onnx", "rich", "safetensors", "torch"}  # not at `import minidl`


@dataclass(frozen=True)
class Import:
    target: str  # the module that is imported, by its full name
    late: bool  # when a function runs, or for the type checker alone
    place: str  # file:line


class Reader(ast.NodeVisitor):
    """Collects the imports of one file."""

    def __init__(self, name, file, root, modules):
        self.name, self.modules, self.imports = name, modules, []
        self.package = name if file.stem == "__init__" else name.rpartition(".")[0]
        self.path, self.late = file.relative_to(root), False

    def visit_Import(self, node):
        for alias in node.names:
            self.add(alias.name, node)

    def visit_ImportFrom(self, node):
        base = node.module or ""
        if node.level:
            parents = self.package.split(".")
            base = ".".join(parents[: len(parents) - node.level + 1] + base.split(".")).strip(".")
        for alias in node.names:  # `from . import relu` imports the module relu, if there is one
            inner = f"{base}.{alias.name}"
            self.add(inner if inner in self.modules else base, node)

    def add(self, target, node):
        self.imports.append(Import(target, self.late, f"{self.path}:{node.lineno}"))

    def visit_later(self, nodes):
        self.late, before = True, self.late
        for node in nodes:
            self.visit(node)
        self.late = before

    def visit_FunctionDef(self, node):
        self.visit_later(node.body)

    visit_AsyncFunctionDef = visit_FunctionDef

    def visit_If(self, node):
        if ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            self.visit_later(node.body)
            for other in node.orelse:
                self.visit(other)
        else:
            self.generic_visit(node)


def read_imports(root):
    """Module name -> its imports, for minidl/ and kernels/ in root; kernels/ goes by the name of minidl.kernels."""
    files = {}
    for folder, name in ((root / "minidl", "minidl"), (root / "kernels", "minidl.kernels")):
        for file in sorted(folder.rglob("*.py")):
            inner = file.relative_to(folder).with_suffix("").parts
            files[".".join([name, *(inner[:-1] if inner[-1] == "__init__" else inner)])] = file
    imports = {}
    for name, file in files.items():
        reader = Reader(name, file, root, files)
        reader.visit(ast.parse(file.read_text(encoding="utf-8")))
        imports[name] = reader.imports
    return imports


def room(module):
    """The module or package directly in minidl/ that this one belongs to; "" for minidl/__init__.py itself."""
    return (module.split(".") + [""])[1]


def within(module, package):
    return module == package or module.startswith(package + ".")


def layer_violations(imports):
    """Imports that go up or sideways. Those inside functions count."""
    for name, found in imports.items():
        here = room(name)
        if here and here not in TOP and here not in MAY_IMPORT:
            yield f"{name}: enter {here} in MAY_IMPORT (tests/test_imports.py)"
            continue
        for entry in found:
            there = room(entry.target)
            if within(entry.target, "kernels"):
                yield f"{entry.place}: import minidl.kernels, not kernels"
            elif not within(entry.target, "minidl"):
                if here == "kernels" and entry.target.split(".")[0] not in KERNELS_MAY_IMPORT:
                    yield f"{entry.place}: kernels must not import {entry.target}"
            elif here in MAY_IMPORT and there != here and there not in MAY_IMPORT[here]:
                yield f"{entry.place}: {here} must not import {entry.target}"


def cycle_violations(imports):
    """Modules that need each other to be imported. Imports inside functions, made to part such knots, do not count."""
    needs = {name: {e.target for e in found if not e.late} & imports.keys() for name, found in imports.items()}
    reached = {name: reachable(needs, needs[name]) for name in needs}
    knots = {frozenset(m for m in reached[name] if name in reached[m]) for name in needs if name in reached[name]}
    for knot in sorted(map(sorted, knots)):
        if set(knot) != KNOT:
            yield f"import cycle: {', '.join(knot)}"


def reachable(needs, start):
    seen, todo = set(), set(start)
    while todo:
        name = todo.pop()
        seen.add(name)
        todo |= needs[name] - seen
    return seen


def late_violations(imports):
    """Packages that `import minidl` would load although few users need them."""
    needs = {name: {e.target for e in found if not e.late} for name, found in imports.items()}
    for name, targets in needs.items():  # and a.b is loaded before a.b.c
        needs[name] = (targets | {target.rpartition(".")[0] for target in targets | {name}}) & imports.keys()
    for name in sorted(reachable(needs, {"minidl"})):
        for entry in imports[name]:
            if not entry.late and entry.target.split(".")[0] in LATE:
                yield f"{entry.place}: `import minidl` must not load {entry.target}: import it where it is used"


def violations(root):
    imports = read_imports(root)
    return [*layer_violations(imports), *cycle_violations(imports), *late_violations(imports)]


def test_sources_keep_the_rules():
    assert "minidl.kernels.relu" in read_imports(ROOT)
    assert violations(ROOT) == []


def test_the_knot_is_there():
    """Or the exception made for it could go."""
    imports = read_imports(ROOT)
    assert "minidl.tensor" in {e.target for e in imports["minidl.function"] if not e.late}
    assert "minidl.function" in {e.target for e in imports["minidl.tensor"] if not e.late}


HOUSE = {
    "kernels/__init__.py": "from . import relu",
    "kernels/relu.py": "import math\nimport numpy.linalg\nfrom numba import prange",
    "minidl/__init__.py": "from . import ops, tensor\nfrom .nn import Module",
    "minidl/function.py": "from . import tensor",
    "minidl/tensor.py": "from . import function",
    "minidl/ops/__init__.py": "from .relu import relu",
    "minidl/ops/relu.py": "from ..function import Function\nfrom ..kernels import relu as kernel",
    "minidl/ops/shape.py": "def f():\n    from . import relu",
    "minidl/nn/__init__.py": "from ..ops import relu",
    "minidl/optim/__init__.py": "from ..tensor import Tensor",
    "minidl/models/__init__.py": "from .. import nn",
    "minidl/train/__init__.py": "import minidl\nfrom minidl import optim\nfrom ..data import load",
    "minidl/data/__init__.py": "def f():\n    import rich",
    "minidl/explain/__init__.py": "",
    "minidl/cli.py": "import click\nfrom . import train",
}


def build_house(root, changes):
    for name, text in (HOUSE | changes).items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def test_a_house_in_order(tmp_path):
    assert violations(build_house(tmp_path, {})) == []


KERNELS = [
    ("kernels/relu.py", "from minidl.tensor import Tensor", "kernels/relu.py:1: kernels must not import minidl.tensor"),
    ("kernels/relu.py", "from .. import ops", "kernels must not import minidl.ops"),
    ("kernels/conv2d/__init__.py", "from ... import ops", "kernels must not import minidl.ops"),
    ("kernels/relu.py", "def f():\n    import minidl", "kernels/relu.py:2: kernels must not import minidl"),
    ("kernels/relu.py", "import scipy.signal", "kernels must not import scipy.signal"),
    ("kernels/relu.py", "try:\n    import torch\nexcept ImportError:\n    pass", "kernels must not import torch"),
    ("minidl/ops/relu.py", "import kernels.relu", "import minidl.kernels, not kernels"),
    ("minidl/train/loop.py", "from kernels import relu", "import minidl.kernels, not kernels"),
]
LAYERS = [
    ("minidl/tensor.py", "def f():\n    from . import ops", "minidl/tensor.py:2: tensor must not import minidl.ops"),
    ("minidl/function.py", "from .kernels import relu", "function must not import minidl.kernels.relu"),
    ("minidl/ops/relu.py", "from ..nn import Module", "ops must not import minidl.nn"),
    ("minidl/ops/relu.py", "from .. import Tensor", "ops must not import minidl"),
    ("minidl/nn/linear.py", "import minidl.kernels.relu", "nn must not import minidl.kernels.relu"),
    ("minidl/nn/linear.py", "from ..models import lenet", "nn must not import minidl.models"),
    ("minidl/nn/linear.py", "if TYPE_CHECKING:\n    from .. import explain", "nn must not import minidl.explain"),
    ("minidl/nn/linear.py", "class A:\n    from .. import cli", "nn must not import minidl.cli"),
    ("minidl/models/lenet.py", "from ..function import Function", "models must not import minidl.function"),
    ("minidl/models/lenet.py", "from minidl import train", "models must not import minidl.train"),
    ("minidl/optim/sgd.py", "from .. import nn", "optim must not import minidl.nn"),
    ("minidl/optim/sgd.py", "async def f():\n    from minidl.data import a", "optim must not import minidl.data"),
    ("minidl/attic.py", "", "minidl.attic: enter attic in MAY_IMPORT"),
    ("minidl/attic/box.py", "", "minidl.attic.box: enter attic in MAY_IMPORT"),
]
CYCLES = [
    ("minidl/ops/relu.py", "from . import relu", "import cycle: minidl.ops.relu"),
    ("minidl/ops/relu.py", "from . import arithmetic", "import cycle: minidl.ops, minidl.ops.relu"),
    ("kernels/relu.py", "from . import KERNELS", "import cycle: minidl.kernels, minidl.kernels.relu"),
    ("minidl/data/__init__.py", "from ..train import fit", "import cycle: minidl.data, minidl.train"),
    ("minidl/__init__.py", "from . import train", "import cycle: minidl, minidl.train"),
    ("minidl/function.py", "from . import tensor, ops", "import cycle: minidl.function, minidl.ops, minidl.ops.relu,"),
]
LOADED = [
    ("kernels/relu.py", "import cupy", "kernels/relu.py:1: `import minidl` must not load cupy"),
    ("minidl/ops/relu.py", "import torch.nn", "`import minidl` must not load torch.nn"),
    ("minidl/nn/__init__.py", "if True:\n    from safetensors import safe_open", "must not load safetensors"),
    ("minidl/__init__.py", "from . import cli", "minidl/cli.py:1: `import minidl` must not load click"),
    ("minidl/__init__.py", "from minidl.cli.main import f", "minidl/cli.py:1: `import minidl` must not load click"),
]


@pytest.mark.parametrize(("file", "text", "message"), KERNELS + LAYERS + CYCLES + LOADED)
def test_each_rule_can_fail(tmp_path, file, text, message):
    found = violations(build_house(tmp_path, {file: text}))
    assert [f for f in found if message in f]


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("minidl/ops/relu.py", "from .shape import reshape"),  # which needs relu when it runs
        ("minidl/nn/linear.py", "def f():\n    import torch"),
        ("minidl/data/mnist.py", "import rich"),  # nobody imports it at once
        ("kernels/relu.py", "if TYPE_CHECKING:\n    import cupy\nelse:\n    import numpy"),
    ],
)
def test_what_the_rules_leave_free(tmp_path, file, text):
    assert violations(build_house(tmp_path, {file: text})) == []


def test_a_parent_is_loaded_too(tmp_path):
    """minidl.data.digits brings minidl.data, and that brings rich."""
    changes = {"minidl/__init__.py": "import minidl.data.digits", "minidl/data/digits.py": ""}
    found = violations(build_house(tmp_path, changes | {"minidl/data/__init__.py": "import rich"}))
    assert [f.split(": ")[0] for f in found] == ["minidl/data/__init__.py:1"]


def test_import_loads_nothing_that_few_need():
    """What the sources say holds when Python runs them, whatever minidl's own dependencies import."""
    code = "import sys, minidl; print(sorted({name.partition('.')[0] for name in sys.modules}))"
    loaded = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "minidl" in ast.literal_eval(loaded)
    assert LATE.isdisjoint(ast.literal_eval(loaded))
