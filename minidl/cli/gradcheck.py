"""minidl gradcheck NAME …: check operations, or a Function or function in a file, and explain what is wrong."""

import importlib.util
import inspect
import time
from pathlib import Path

import click
import numpy as np
from rich.console import Console
from rich.table import Table

from ..function import Function
from ..gradcheck.check import examine, examine_second
from ..gradcheck.samples import SAMPLES, Sample, normal
from ..tensor import Tensor

# Shapes that are tried where none are given: elementwise, broadcasting, products, images; extents differ.
_GUESSES = {
    1: (((3, 4),), ((2, 3, 4),), ((4,),), ((2, 3, 6, 5),)),
    2: (((3, 4), (4, 5)), ((3, 4), (3, 4)), ((3, 4), (4,)), ((2, 3, 6, 5), (4, 3, 3, 2))),
    3: (((5, 3), (4, 3), (4,)), ((3, 4), (3, 4), (3, 4)), ((2, 3, 6, 5), (4, 3, 3, 2), (4,)), ((5, 3), (3,), (3,))),
}


@click.command()
@click.argument("names", nargs=-1, metavar="[NAME | FILE.py:NAME] …")
@click.option("--all", "everything", is_flag=True, help="Check every operation.")
@click.option(
    "--shape", "shapes", multiple=True, metavar="2,3", help="An input's shape; once per input, for FILE.py:NAME."
)
@click.option("--dtype", type=click.Choice(["float64", "float32"]), default="float64", show_default=True)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the inputs and cotangents.")
@click.option("--seeds", type=click.IntRange(1), default=1, show_default=True, help="How many seeds, from --seed on.")
@click.option("--fast", is_flag=True, help="One random direction instead of every entry.")
@click.option("--first-order", is_flag=True, help="Leave the second derivatives out.")
@click.option("--plot", type=click.Path(dir_okay=False), metavar="FILE", help="Draw the first failure into an image.")
def gradcheck(names, everything, shapes, dtype, seed, seeds, fast, first_order, plot):
    """Check gradients against numerical ones, and explain what is wrong.

    NAME is an operation (conv2d); FILE.py:NAME is a Function, or a function of Tensors, in a file of yours. Its inputs
    have the shapes given, or common ones that it takes. The status is 1 where a gradient is wrong.
    """
    samples = _samples(names, everything, shapes)
    console = Console(highlight=False, soft_wrap=True)
    table = Table("operation", "sample", "first", "second", "relative error", "seconds", box=None)
    failures, notes = [], {}
    for sample in samples:
        start, worst, marks = time.perf_counter(), 0.0, []
        for check in (examine,) if first_order else (examine, examine_second):
            reports = [_report(check, sample, s, dtype, fast) for s in range(seed, seed + seeds)]
            wrong = [report for report in reports if not report]
            failures += [(sample, report) for report in wrong[:1]]
            worst = max(worst, *(report.relative_error for report in reports))
            notes.update({(sample.operation, note): None for report in reports for note in report.warnings})
            marks.append("wrong" if wrong else "right")
        marks += ["-"] * (2 - len(marks))
        table.add_row(sample.operation, sample.label, *marks, f"{worst:.0e}", f"{time.perf_counter() - start:.2f}")
    console.print(table)
    for operation, note in notes if not everything else ():
        console.print(f"note: {operation}: {note}", markup=False)
    for sample, report in failures:
        console.print(f"\n{sample.operation} {sample.label}".rstrip(), markup=False)
        console.print(str(report), markup=False)
    if plot and failures:
        failures[0][1].plot(plot)
        console.print(f"wrote {plot}")
    operations, right = len({s.operation for s in samples}), len(samples) - len({id(s) for s, _ in failures})
    console.print(f"{operations} operations, {len(samples)} samples: {right} right, {len(samples) - right} wrong")
    return 1 if failures else 0


def _samples(names, everything, shapes):
    if bool(names) == everything:
        raise click.ClickException("gradcheck: name operations, or FILE.py:NAME, or say --all")
    if everything:
        return [sample for samples in SAMPLES.values() for sample in samples]
    found = []
    for name in names:
        if ".py:" in name:
            found.append(_from_file(name, [_shape(s) for s in shapes]))
        elif name in SAMPLES:
            found += SAMPLES[name]
        else:
            raise click.ClickException(
                f"gradcheck: there is no operation {name!r}; known are {', '.join(sorted(SAMPLES))}"
            )
    return found


def _shape(text):
    try:
        shape = tuple(int(n) for n in text.split(",") if n.strip())
        if min(shape, default=0) < 0:
            raise ValueError
    except ValueError:
        raise click.ClickException(f"gradcheck: --shape must be integers such as 2,3, got {text!r}") from None
    return shape


def _from_file(name, shapes):
    """A Sample of something in a file: of the shapes given, or of the first guess that it takes."""
    path, _, attribute = name.rpartition(":")
    if not Path(path).is_file():
        raise click.ClickException(f"gradcheck: there is no file {path}")
    spec = importlib.util.spec_from_file_location(Path(path).stem, path)
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise click.ClickException(f"gradcheck: {path} cannot be imported: {type(error).__name__}: {error}") from None
    f = getattr(module, attribute, None)
    if not callable(f):
        raise click.ClickException(f"gradcheck: there is no function {attribute!r} in {path}")
    if isinstance(f, type) and issubclass(f, Function):
        count = _inputs(f.forward) - 1
        f = f.apply
    else:
        count = _inputs(f)
    guesses = [shapes] if shapes else _GUESSES.get(count, ())
    error = f"it takes {count} inputs"
    for guess in guesses:
        try:
            f(*(Tensor(np.random.default_rng(0).standard_normal(shape)) for shape in guess))
        except Exception as raised:  # not a shape that it takes
            error = f"{type(raised).__name__}: {raised}"
            continue
        label = " ".join("×".join(map(str, shape)) or "()" for shape in guess)
        return Sample(attribute, label, f, tuple(normal(*shape) for shape in guess))
    raise click.ClickException(f"gradcheck: say with --shape what {attribute} takes, once per input ({error})")


def _inputs(f):
    """How many arguments f needs."""
    kinds = inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD
    return sum(p.kind in kinds and p.default is p.empty for p in inspect.signature(f).parameters.values())


def _report(check, sample, seed, dtype, fast):
    inputs = sample.inputs(np.random.default_rng(seed))
    if dtype == "float32":
        inputs = [a.astype(np.float32) if a.dtype == np.float64 else a for a in inputs]
    return check(sample.f, inputs, seed=seed, fast_mode=fast)
