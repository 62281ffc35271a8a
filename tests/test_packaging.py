"""minidl imports from a wheel, from editable installs and from a checkout, and no package `kernels` comes along."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from importlib.metadata import PathDistribution, distribution
from pathlib import Path

import pytest

import minidl

ROOT = Path(__file__).resolve().parents[1]
# Where this Python keeps the dependencies. Put on the path by hand, these folders do not bring in the minidl that is
# installed beside them: a .pth file is read by `site`, and `python -S` starts without.
DEPENDENCIES = sorted({str(distribution(name).locate_file("")) for name in ("numba", "numpy", "setuptools")})

REPORT = """
import json
import numpy as np
import minidl.kernels
from minidl.data import load_digits

y = np.empty(3, "float32")
with minidl.use_kernels("reference"):
    minidl.kernels.relu.forward(np.array([-1, 0, 2], "float32"), y)
try:
    import kernels
    refusal = None
except ImportError as error:
    refusal = f"{type(error).__name__}: {error}"
print(json.dumps({
    "minidl": minidl.__file__,
    "kernels": minidl.kernels.__file__,
    "refusal": refusal,
    "path": list(minidl.__path__),
    "relu": y.tolist(),
    "digits": len(load_digits()[0]),
}))
"""


def python(code, cwd, sites=(), **environment):
    """What `code` prints, run in a Python that sees the dependencies and, of minidl, only what it is pointed at."""
    start = f"import site, sys; [site.addsitedir(s) for s in {[str(s) for s in sites]}]; sys.path += {DEPENDENCIES}\n"
    ran = subprocess.run(
        [sys.executable, "-S", "-c", start + code],
        cwd=cwd,
        env={k: v for k, v in os.environ.items() if not k.startswith("PYTHON")} | environment,
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def report(cwd, sites=(), **environment):
    """Import minidl as `python` does and use it; its two folders, what `import kernels` says, and minidl's path."""
    told = json.loads(python(REPORT, cwd, sites, MINIDL_CACHE=str(cwd / "cache"), **environment).splitlines()[-1])
    assert told["relu"] == [0, 0, 2]
    assert told["digits"] == 1437
    folders = (Path(told[name]).parent.resolve() for name in ("minidl", "kernels"))
    return *folders, told["refusal"], told["path"]


def copy_checkout(to):
    """What a clone holds of the package, so that building leaves nothing in the checkout."""
    to.mkdir()
    for name in ("setup.cfg", "pyproject.toml", "LICENSE", "README.md"):
        if (ROOT / name).exists():
            shutil.copy(ROOT / name, to)
    for name in ("minidl", "kernels"):
        shutil.copytree(ROOT / name, to / name, ignore=shutil.ignore_patterns("__pycache__", ".*"))
    return to


def build(checkout, to, call):
    """Call setuptools as pip does, and unpack the wheel it makes."""
    code = f"from setuptools import build_meta; print(); print(build_meta.{call})"
    name = python(code, checkout).splitlines()[-1]
    with zipfile.ZipFile(checkout / name) as wheel:
        wheel.extractall(to)
    return to


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    return copy_checkout(tmp_path_factory.mktemp("packaging") / "checkout")


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder into which the wheel was installed."""
    folder = tmp_path_factory.mktemp("wheel")
    return build(copy_checkout(folder / "checkout"), folder / "site", "build_wheel('.')")


def files(folder, within=""):
    return {str(Path(within, f.relative_to(folder))) for f in folder.rglob("*") if f.is_file()}


def test_wheel_holds_two_folders(installed):
    assert {f.name for f in installed.iterdir()} == {"minidl", f"minidl-{minidl.__version__}.dist-info"}


def test_wheel_holds_every_file(installed, checkout):
    """A package or a kind of file that setup.cfg does not list is missing here."""
    expected = files(checkout / "minidl", "minidl") | files(checkout / "kernels", "minidl/kernels")
    assert {"minidl/data/digits.npz", "minidl/kernels/conv2d/__init__.py"} < expected
    assert files(installed / "minidl", "minidl") == expected


def test_wheel_says_what_it_is(installed):
    (folder,) = installed.glob("*.dist-info")
    metadata = PathDistribution(folder).metadata
    assert (metadata["Name"], metadata["Version"]) == ("minidl", minidl.__version__)
    assert next(folder.rglob("LICENSE")).read_bytes() == (ROOT / "LICENSE").read_bytes()
    wanted = PathDistribution(folder).requires
    assert any(requirement.startswith("numpy") for requirement in wanted)
    assert not any(requirement.startswith("torch") for requirement in wanted), (
        "PyTorch is for comparing, not for running"
    )


def test_command(installed, tmp_path):
    (folder,) = installed.glob("*.dist-info")
    (command,) = PathDistribution(folder).entry_points
    assert (command.group, command.name) == ("console_scripts", "minidl")
    start = f"from {command.module} import {command.attr} as main\nsys.argv = ['minidl', '--help']\nsys.exit(main())"
    assert "train" in python(start, tmp_path, [installed])


def test_wheel_imports(installed, tmp_path):
    package, kernels, refusal, path = report(tmp_path, [installed])
    assert package == installed / "minidl"
    assert kernels == installed / "minidl" / "kernels"
    assert path == [str(package)]  # and not all of site-packages
    assert refusal == "ModuleNotFoundError: No module named 'kernels'"


@pytest.mark.parametrize("settings", [{}, {"editable_mode": "strict"}], ids=["default", "strict"])
def test_editable_install_imports(tmp_path, settings):
    checkout = copy_checkout(tmp_path / "checkout")
    site = build(checkout, tmp_path / "site", f"build_editable('.', {settings})")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    package, kernels, refusal, _ = report(elsewhere, [site])
    assert package.is_relative_to(checkout)
    assert kernels.is_relative_to(checkout)
    assert kernels.name == "kernels"
    assert refusal == "ModuleNotFoundError: No module named 'kernels'"


def test_checkout_imports_without_installation(checkout, tmp_path):
    for package, kernels, refusal, _ in (report(checkout), report(tmp_path, PYTHONPATH=str(checkout))):
        assert package == checkout / "minidl"
        assert kernels == checkout / "kernels"
        assert refusal.startswith("ImportError: import minidl.kernels, not kernels")
