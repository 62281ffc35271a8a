"""What docs/gpu.md says that the emulator says is what it says, and its table is what the script computes."""

import re
import runpy
from pathlib import Path

import numpy as np
import pytest
from emulator import EmulationError

import minidl as dl

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "gpu.md").read_text(encoding="utf-8")

pytestmark = pytest.mark.usefixtures("emulator")


@pytest.fixture(scope="module")
def scope():
    """What the page's programs for the emulator define."""
    names = {}
    for program in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
        if "from emulator" in program:
            exec(program, names)
    return names


@pytest.fixture(scope="module")
def example(scope):
    """The page's kernel and the function that runs it."""
    return scope["SUM"], scope["run"]


def test_the_loop_of_mixed_precision_trains(cupy):
    code = next(block for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL) if "autocast" in block)
    dl.manual_seed(0)
    net = dl.nn.Linear(3, 2).to("cuda")
    x, y = cupy.asarray(np.random.default_rng(0).standard_normal((8, 3)).astype(np.float32)), cupy.arange(8) % 2
    scope = {"dl": dl, "net": net, "loader": [(x, y)] * 5, "optimizer": dl.optim.SGD(net.parameters(), 0.5)}
    first = dl.ops.cross_entropy(net(dl.Tensor(x)), dl.Tensor(y)).item()
    exec(code, scope)
    assert scope["loss"].item() < first and scope["scaler"].state_dict()["_growth_tracker"] == 5
    half = np.finfo(np.float16)
    assert f"ends at {half.max:.0f}" in PAGE and f"2⁻²⁴ = {half.smallest_subnormal:.0e}".replace("e-0", "e-") in PAGE
    assert f"next number is {half.eps:.3f} away" in PAGE


def changed(code, old, new):
    assert code.count(old) == 1
    return code.replace(old, new)


def test_the_example_adds_up(example):
    code, run = example
    assert run(code) == 32640.0 == sum(range(256))


@pytest.mark.parametrize("number, before", [(1, "x[t] : 0;"), (2, "half];")])
def test_missing_barriers(example, number, before):
    code, run = example
    without = re.sub(re.escape(before) + r"\s+__syncthreads\(\);", before, code)
    results = ", ".join(str(run(without, order=order)) for order in ("forward", "reverse", 2, 3))
    row = PAGE.splitlines()[[i for i, x in enumerate(PAGE.splitlines()) if "left out | order" in x][number - 1]]
    assert without != code and row.replace("**", "").endswith(f"| {results} |")


def test_the_race_whose_result_is_right(example):
    code, run = example
    everybody = changed(code, "if (t == 0) y[0]", "y[0]")
    for order in ("forward", "reverse", 2, 3):
        assert run(everybody, order=order) == 32640.0
    with pytest.raises(EmulationError) as error:
        run(everybody, sanitizer="thread")
    said = re.search(r"```\n(WARNING: ThreadSanitizer.*?)```", PAGE, re.DOTALL)[1].splitlines()
    for line in said:
        words = line.split(" at 0x")[0].split()  # addresses and threads are another run's, paths are left out
        assert re.search(".*".join(map(re.escape, words)), str(error.value)), line


@pytest.mark.parametrize("old, new, row", [
    ("x[t]", "x[t + 1]", "`x[t + 1]`"),
    ("partial[256]", "partial[128]", "`partial[128]`"),
    ("partial[t + half];\n    __syncthreads();", "partial[t + half], __syncthreads();", "the barrier moved"),
])  # fmt: skip
def test_mistakes_and_their_messages(example, old, new, row):
    code, run = example
    with pytest.raises(EmulationError) as error:
        run(changed(code, old, new))
    (line,) = (line for line in PAGE.splitlines() if line.startswith(f"| {row}"))
    begin, *end = line.split("`sum:")[1].strip(" |`").split("…,")  # the page leaves out the middle
    assert str(error.value).startswith(f"sum:{' ' if begin[0] != ' ' else ''}{begin}")
    assert not end or str(error.value).endswith(end[0].strip())


def test_bank_conflicts_are_counted(scope):
    rows = re.findall(r"^\| `(tile\[32\]\[\d+\])` \| `(.*)` \|$", PAGE, re.MULTILINE)
    assert [tile for tile, _ in rows] == ["tile[32][32]", "tile[32][33]", "tile[32][34]"]
    for tile, said in rows:
        assert str(scope["count"](scope["TURN"].replace("tile[32][32]", tile))) == said


def test_the_table_is_what_the_script_computes():
    """Of the kernels whose arrays are small."""
    script = runpy.run_path(str(ROOT / "benchmarks" / "gpu_roofline.py"))
    size, flops, found, _ = script["bounds"]("conv2d.forward", "3×3, 64 to 64", "float32")
    assert size == 4 * (2 * 8 * 56 * 56 * 64 + 9 * 64 * 64 + 64) and flops == 2 * 8 * 56 * 56 * 64 * 64 * 9
    seconds, bound = found["T4"]
    assert bound == "arithmetic" and seconds == pytest.approx(flops / 8.1e12)
    rows = PAGE.partition("## On paper")[2].partition("\n## ")[0].splitlines()
    named = {line.split("|")[1].split()[0] for line in rows if line.startswith("| ")}
    assert named >= set(dl.kernels.KERNELS), "a kernel without a row"
    (line,) = (line for line in rows if line.startswith("| conv2d.forward 3×3, 64 to 64"))
    assert (
        line.endswith(f"{seconds * 1e3:.3g} ms, arithmetic |") and f"| {size / 1e6:.0f} | {flops / 1e9:.3g} |" in line
    )
