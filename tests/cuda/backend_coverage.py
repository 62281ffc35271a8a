"""How much of the backend's Python the tests of this folder run: a table, and exit status 1 below 95 %.

    PYTHONPATH=. python tests/cuda/backend_coverage.py [tests and options for pytest]

What counts are the statements of FILES, and of kernels/ those of the CUDA forms: functions named `…gpu`, and what
stands under the heading "on a GPU". `def` lines run at every import, so they count for nothing.
"""

import ast
import sys
from pathlib import Path

import coverage
import pytest

LEAST = 95  # per cent
ROOT = Path(__file__).resolve().parents[2]
FILES = [
    "kernels/_cuda.py",
    "kernels/conv2d/gpu.py",
    "minidl/amp.py",
    "minidl/cuda.py",
    "minidl/data/prefetch.py",
    "minidl/bench/gpu.py",
    "minidl/ops/_autocast.py",
]
HEADING = "# ---- on a GPU "
# Tests of the emulator and of the stand-in run none of the backend; races and barriers run what others have run.
NAMES = "amp bench channels conv2d device graph kernels launcher nets ops optim pools prefetch streams train"
TESTS = [*(f"tests/cuda/test_{name}.py" for name in NAMES.split()), "tests/test_amp.py"]
CHOSEN = "not races and not reverse and not numerical"


def functions(file):
    """{first line of a function's body -> its last line}, of those that count."""
    text = file.read_text()
    before, _, rest = text.partition(HEADING)
    first = before.count("\n") + 1
    last = first + rest.partition("\n# ---- ")[0].count("\n")
    whole = str(file.relative_to(ROOT)) in FILES
    return {
        node.body[0].lineno: node.end_lineno
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef) and (whole or node.name.endswith("gpu") or first < node.lineno < last)
    }


def main(arguments):
    files = {*(ROOT / name for name in FILES), *(ROOT / "kernels").rglob("*.py")}
    measured = coverage.Coverage(data_file=None, include=list(map(str, files)))
    measured.start()
    failed = pytest.main(["-p", "no:cacheprovider", *(arguments or [*TESTS, "-k", CHOSEN])])
    measured.stop()
    if failed:
        return int(failed)
    all_statements = all_missing = 0
    print(f"\n{'file':28} statements  missing")
    for file in sorted(files):
        _, statements, _, missing, _ = measured.analysis2(str(file))
        counted = {line for first, last in functions(file).items() for line in range(first, last + 1)}
        statements, missing = counted.intersection(statements), sorted(counted.intersection(missing))
        if statements:
            print(f"{file.relative_to(ROOT)!s:28} {len(statements):10}  {', '.join(map(str, missing))}")
        all_statements, all_missing = all_statements + len(statements), all_missing + len(missing)
    share = 100 * (1 - all_missing / all_statements)
    print(f"{'all':28} {all_statements:10}  {all_missing}: {share:.1f} % are run, {LEAST} % must be")
    return int(share < LEAST)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
