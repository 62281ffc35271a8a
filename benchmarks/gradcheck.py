"""Kill rates of gradient checks on the same mutants, and false alarms on the right operations beside them.

.venv/bin/python benchmarks/gradcheck.py [--seeds N] [--json FILE]

Each check gets what a careful user would hand it: the operation and a sample (float64, random numbers). Checks of the
first order see the mutants of first order; gradgradcheck those of second order. The others are written from their
descriptions: PyTorch's gradcheck itself runs on a torch Function that calls minidl.
"""

import argparse
import json
import sys
import time
import warnings
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import minidl as dl  # noqa: E402
from minidl.bench import harness  # noqa: E402
from minidl.explain.mutants import MUTANTS  # noqa: E402


def outputs_of(result):
    """The floating-point outputs."""
    results = result if isinstance(result, tuple | list) else (result,)
    return [y for y in results if y.dtype.kind in "fc"]


def analytic(f, arrays, cotangents=None):
    """The gradients of f's floating-point inputs (of the sum of all outputs, by default), as arrays."""
    leaves = [dl.Tensor(a, requires_grad=a.dtype.kind in "fc") for a in arrays]
    outputs = outputs_of(f(*leaves))
    cotangents = [np.ones(y.shape) for y in outputs] if cotangents is None else cotangents
    wanted = [leaf for leaf in leaves if leaf.requires_grad]
    pairs = [(y, c) for y, c in zip(outputs, cotangents, strict=True) if y.requires_grad]
    found = dl.grad([y for y, _ in pairs], wanted, [c for _, c in pairs], allow_unused=True)
    return [np.zeros(x.shape) if g is None else g.detach().numpy() for g, x in zip(found, wanted, strict=True)]


def difference(f, arrays, which, place, eps):
    """The central difference of the sum of f's outputs by one element."""
    values = []
    for step in (eps, -eps):
        moved = [a.copy() for a in arrays]
        moved[which][place] += step
        with dl.no_grad():
            values.append(sum(float(y.data.sum()) for y in outputs_of(f(*map(dl.Tensor, moved)))))
    return (values[0] - values[1]) / (2 * eps)


def floating(arrays):
    return [number for number, a in enumerate(arrays) if a.dtype.kind in "fc"]


def minidl_full(f, arrays, order, seed):
    return (dl.gradcheck if order == 1 else dl.gradgradcheck)(f, arrays, raise_exception=False, seed=seed)


def minidl_fast(f, arrays, order, seed):
    check = dl.gradcheck if order == 1 else dl.gradgradcheck
    return check(f, arrays, raise_exception=False, seed=seed, fast_mode=True)


def torch_check(fast):
    """torch.autograd.gradcheck (gradgradcheck for order 2) with its defaults."""
    import torch

    def function(f, variables):
        """f as a torch function; strides pass unchanged."""

        class Backward(torch.autograd.Function):
            @staticmethod
            def forward(ctx, *tensors):
                ctx.count, ctx.arrays = len(variables), [t.detach().numpy() for t in tensors]
                return as_torch(run(ctx.arrays))

            @staticmethod
            def backward(ctx, *second):
                leaves = [dl.Tensor(a, requires_grad=True) for a in ctx.arrays]
                firsts = run_graph(leaves)
                pairs = [(g, s) for g, s in zip(firsts, second, strict=True) if g is not None and g.requires_grad]
                if not pairs:
                    return (None,) * len(leaves)
                weights = [s.contiguous().numpy() for _, s in pairs]
                found = dl.grad([g for g, _ in pairs], leaves, weights, allow_unused=True)
                return tuple(None if g is None else torch.from_numpy(g.numpy().copy()) for g in found)

        def call(leaves):
            arguments = list(f.arrays)
            for number, leaf in zip(variables, leaves, strict=True):
                arguments[number] = leaf
            return outputs_of(f.f(*(a if isinstance(a, dl.Tensor) else dl.Tensor(a) for a in arguments)))

        def run_graph(leaves):
            inputs, cotangents = leaves[: len(variables)], leaves[len(variables) :]
            outputs = [(y, c) for y, c in zip(call(inputs), cotangents, strict=True) if y.requires_grad]
            return dl.grad(
                [y for y, _ in outputs], inputs, [c for _, c in outputs], create_graph=True, allow_unused=True
            )

        def run(arrays):
            inputs = [dl.Tensor(a, requires_grad=True) for a in arrays[: len(variables)]]
            cotangents = list(arrays[len(variables) :])
            outputs = [(y, c) for y, c in zip(call(inputs), cotangents, strict=True) if y.requires_grad]
            found = dl.grad([y for y, _ in outputs], inputs, [c for _, c in outputs], allow_unused=True)
            return [
                np.zeros_like(x.data) if g is None else g.detach().numpy() for g, x in zip(found, inputs, strict=True)
            ]

        def as_torch(arrays):
            return tuple(torch.from_numpy(np.array(a)) for a in arrays)

        class Forward(torch.autograd.Function):
            @staticmethod
            def forward(ctx, *tensors):
                ctx.save_for_backward(*tensors)
                ctx.leaves = [dl.Tensor(t.detach().numpy(), requires_grad=True) for t in tensors]
                ctx.outputs = call(ctx.leaves)
                return as_torch([y.data for y in ctx.outputs])

            @staticmethod
            def backward(ctx, *cotangents):
                if torch.is_grad_enabled():
                    return Backward.apply(*ctx.saved_tensors, *cotangents)
                pairs = [(y, c.numpy()) for y, c in zip(ctx.outputs, cotangents, strict=True) if y.requires_grad]
                found = dl.grad(
                    [y for y, _ in pairs], ctx.leaves, [c for _, c in pairs], retain_graph=True, allow_unused=True
                )
                return as_torch(
                    [np.zeros(x.shape) if g is None else g.numpy() for g, x in zip(found, ctx.leaves, strict=True)]
                )

        return Forward.apply

    def check(f, arrays, order, seed):
        torch.manual_seed(seed)
        variables = floating(arrays)
        wrapped = function(Call(f, arrays), variables)
        tensors = [torch.from_numpy(arrays[v].copy()).requires_grad_() for v in variables]
        run = torch.autograd.gradcheck if order == 1 else torch.autograd.gradgradcheck
        return run(wrapped, tensors, fast_mode=fast)

    return check


class Call:
    """A function with all its arguments, of which some are replaced."""

    def __init__(self, f, arrays):
        self.f, self.arrays = f, arrays


def minitorch(f, arrays, order, seed):
    """minitorch's grad_check: one random index per input, a cotangent of ones, eps 1e-6, tolerance 1e-2."""
    rng = np.random.default_rng(seed)
    gradients = analytic(f, arrays)
    for gradient, which in zip(gradients, floating(arrays), strict=True):
        place = tuple(int(rng.integers(n)) for n in arrays[which].shape)
        numeric = difference(f, arrays, which, place, 1e-6)
        if not abs(gradient[place] - numeric) <= 1e-2 + 1e-2 * abs(numeric):
            return False
    return True


def needle(f, arrays, order, seed):
    """dlsys needle's gradient_check: every entry, a cotangent of ones, eps 1e-4; the norms of errors sum to < 4e-2."""
    return textbook_errors(f, arrays, 1e-4) < 4e-2


def needle_strict(f, arrays, order, seed):
    """The same with the tolerance 1e-6."""
    return textbook_errors(f, arrays, 1e-5) < 1e-6


def textbook_errors(f, arrays, eps):
    total = 0.0
    for gradient, which in zip(analytic(f, arrays), floating(arrays), strict=True):
        errors = [gradient[p] - difference(f, arrays, which, p, eps) for p in np.ndindex(arrays[which].shape)]
        total += float(np.linalg.norm(errors))
    return total


def cs231n(f, arrays, order, seed):
    """CS231n: every entry, a random cotangent, eps 1e-5; largest relative error by eye, wrong above 1e-4."""
    rng = np.random.default_rng(seed)
    with dl.no_grad():
        outputs = outputs_of(f(*(dl.Tensor(a.copy()) for a in arrays)))
    cotangents = [rng.standard_normal(y.shape) for y in outputs]
    for gradient, which in zip(analytic(f, arrays, cotangents), floating(arrays), strict=True):

        def weighted(*tensors):
            return [dl.ops.sum(y * dl.Tensor(c)) for y, c in zip(outputs_of(f(*tensors)), cotangents, strict=True)]

        for place in np.ndindex(arrays[which].shape):
            numeric = difference(weighted, arrays, which, place, 1e-5)
            size = max(1e-8, abs(gradient[place]) + abs(numeric))
            if not abs(gradient[place] - numeric) / size <= 1e-4:
                return False
    return True


def checkers():
    """name -> (check, orders it is meant for)."""
    known = {"minidl": (minidl_full, (1, 2)), "minidl, fast_mode": (minidl_fast, (1, 2))}
    try:
        known["torch.autograd.gradcheck"] = torch_check(False), (1, 2)
        known["torch.autograd.gradcheck, fast_mode"] = torch_check(True), (1, 2)
    except ModuleNotFoundError:
        print("torch is missing: its checks are left out")
    known["CS231n (random cotangent, relative error 1e-4)"] = cs231n, (1,)
    known["dlsys needle (ones, 4e-2)"] = needle, (1,)
    known["the same at 1e-6"] = needle_strict, (1,)
    known["minitorch (one index, ones, 1e-2)"] = minitorch, (1,)
    return known


def passes(check, f, mutant, seed):
    """Whether a check lets a function pass; any exception counts as an alarm."""
    try:
        return bool(check(f, mutant.inputs(np.random.default_rng(seed)), mutant.order, seed))
    except Exception:
        return False


def grade(check, orders, seeds):
    """Kills and false alarms, each over mutants × seeds, and the names that survived for any seed."""
    chosen = [m for m in MUTANTS.values() if m.order in orders]
    kills, alarms, survivors, start = 0, 0, {}, time.perf_counter()
    for mutant in chosen:
        for seed in range(seeds):
            survived = passes(check, mutant.wrong, mutant, seed)
            kills += not survived
            survivors.update({mutant.name: None} if survived else {})
            alarms += not passes(check, mutant.right, mutant, seed)
    count = len(chosen) * seeds
    seconds = (time.perf_counter() - start) / (2 * count)
    return {
        "mutants": len(chosen), "kills": kills / count, "false_alarms": alarms / count, "seconds_per_check": seconds,
        "survivors": list(survivors),
    }  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description="Kill rates of gradient checks")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--json", metavar="FILE")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    np.seterr(all="ignore")
    print(harness.machine())
    print(f"{len(MUTANTS)} mutants, {arguments.seeds} seeds each\n")
    print("| check | mutants | killed | false alarms | ms per check |\n|---|---|---|---|---|")
    results = {}
    for name, (check, orders) in checkers().items():
        results[name] = r = grade(check, orders, arguments.seeds)
        print(
            f"| {name} | {r['mutants']} | {100 * r['kills']:.1f} % | {100 * r['false_alarms']:.1f} % | "
            f"{1e3 * r['seconds_per_check']:.1f} |",
            flush=True,
        )
    if arguments.json:
        text = json.dumps({"machine": harness.machine(), "seeds": arguments.seeds, "checks": results}, indent=1)
        Path(arguments.json).write_text(text + "\n")


if __name__ == "__main__":
    main()
