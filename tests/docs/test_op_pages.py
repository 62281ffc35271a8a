"""The pages of docs/ops show the kernels' code as it is, and link to files that are there."""

import ast
import difflib
import re
import textwrap
from pathlib import Path

import pytest

from minidl.kernels import KERNELS

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted((ROOT / "docs" / "ops").glob("*.md"))


def links(text):
    """The targets of a page's links and images, without anchors; code blocks hold none, the web is left alone."""
    text = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    targets = [target.split("#")[0] for target in re.findall(r"\]\(\s*<?([^)\s>]+)", text)]
    return [target for target in targets if target and not re.match(r"[a-z]+:", target)]


def definitions(source):
    """(name, text) of every function in a source, at any depth: from def on, dedented, decorators left out."""
    lines = source.splitlines()
    return [
        (node.name, textwrap.dedent("\n".join(lines[node.lineno - 1 : node.end_lineno])))
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef)
    ]


def kernel_files(page, kernels):
    """The kernels' sources that a page links to; a link to a folder stands for all of it."""
    files = []
    for target in links(page.read_text(encoding="utf-8")):
        path = (page.parent / target).resolve()
        if path.is_relative_to(kernels):
            files += sorted(path.glob("*.py")) if path.is_dir() else [path] if path.suffix == ".py" else []
    return [file for file in files if file.is_file()]


def problems(page, kernels):
    """What is wrong with a page, in words."""
    text, found = page.read_text(encoding="utf-8"), []
    found += [f"the link {target} leads nowhere" for target in links(text) if not (page.parent / target).exists()]
    own = {}
    for file in kernel_files(page, kernels):
        for name, source in definitions(file.read_text(encoding="utf-8")):
            own.setdefault(name, []).append(source)
    shown = 0
    for block in re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        try:
            functions = definitions(block)
        except SyntaxError as error:
            found.append(f"a python block does not parse: {error}")
            continue
        for name, source in functions:
            if name not in own:
                if name.startswith("_"):  # a kernel's, by its name; the others may be examples of use
                    found.append(f"{name} is in none of the kernels that the page links to")
                continue
            shown += 1
            if source not in own[name]:
                closest = max(own[name], key=lambda other: difflib.SequenceMatcher(None, other, source).ratio())
                difference = difflib.unified_diff(
                    closest.splitlines(), source.splitlines(), "kernel", "page", lineterm=""
                )
                found.append(f"{name} is not the kernel's:\n" + "\n".join(difference))
    if not shown:
        found.append("no function of a linked kernel is shown")
    return found


def without_page(operations, pages, kernels):
    """The operations that have no page of their name and whose kernel no page links to."""
    linked = {
        file.relative_to(kernels).parts[0].removesuffix(".py") for p in pages for file in kernel_files(p, kernels)
    }
    return {name for name in operations if name not in linked and name not in {page.stem for page in pages}}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_page(page):
    assert not problems(page, ROOT / "kernels"), "\n".join(problems(page, ROOT / "kernels"))


def test_every_operation_with_a_kernel_has_a_page():
    operations = {name.split(".")[0] for name in KERNELS}
    missing = without_page(operations, PAGES, ROOT / "kernels")
    assert not missing, f"docs/ops has no page for {', '.join(sorted(missing))}"


# ---- the checker itself --------------------------------------------------------------------------------------------

KERNEL = '''"""A kernel."""


def _reference(x, y):
    y[...] = x  # a copy


@jit
def _cpu(x, y):
    def inner(i):
        y[i] = x[i]

    for i in prange(len(x)):
        inner(i)
'''
SHOWN = "def _reference(x, y):\n    y[...] = x  # a copy\n"


@pytest.fixture
def check(tmp_path):
    """check(text) -> the problems of a page with this text, beside a kernel `copy`."""
    tmp_path = tmp_path.resolve()
    (tmp_path / "kernels").mkdir()
    (tmp_path / "kernels" / "copy.py").write_text(KERNEL, encoding="utf-8")
    (tmp_path / "docs" / "ops").mkdir(parents=True)
    page = tmp_path / "docs" / "ops" / "copy.md"

    def check(text):
        page.write_text(text, encoding="utf-8")
        return problems(page, tmp_path / "kernels")

    return check


def page(code, link="[kernel](../../kernels/copy.py)"):
    return f"# copy\n\n{link}\n\n```python\n{code}```\n\nmore\n"


def test_the_checker_takes_what_is_right(check):
    assert check(page(SHOWN)) == []
    assert check(page("x = 1\n\n\n" + SHOWN + "\n\ndef example(x):\n    return copy(x)\n")) == []
    assert check(page("def inner(i):\n    y[i] = x[i]\n", "[kernels](../../kernels/)")) == []
    assert check(page(SHOWN) + "[web](https://example.org) [below](#copy)\n\n```\n[no link](nowhere.md)\n```\n") == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (page(SHOWN.replace("= x", "= 2 * x")), "_reference is not the kernel's:"),
        (page(SHOWN.replace("  # a copy", "")), "_reference is not the kernel's:"),
        (page(SHOWN.replace("    y", "  y")), "_reference is not the kernel's:"),
        (page(SHOWN.replace("_reference", "_refrence")), "_refrence is in none of the kernels"),
        (page(SHOWN, ""), "_reference is in none of the kernels"),
        (page(SHOWN, "[kernel](../../kernels/copied.py)"), "the link ../../kernels/copied.py leads nowhere"),
        (page(SHOWN) + "![picture](copy.png)", "the link copy.png leads nowhere"),
        (page("y = x\n"), "no function of a linked kernel is shown"),
        (page("def _reference(x, y):\n"), "a python block does not parse"),
    ],
)
def test_the_checker_sees_what_is_wrong(check, text, message):
    assert any(problem.startswith(message) for problem in check(text)), check(text)


def test_the_checker_shows_the_difference(check):
    (problem,) = check(page(SHOWN.replace("= x", "= 2 * x")))
    assert "-    y[...] = x  # a copy" in problem and "+    y[...] = 2 * x  # a copy" in problem


def test_the_checker_finds_operations_without_a_page(check, tmp_path):
    check(page(SHOWN))
    pages = [tmp_path.resolve() / "docs" / "ops" / "copy.md"]
    assert without_page({"copy", "paste"}, pages, tmp_path.resolve() / "kernels") == {"paste"}
    pages[0].rename(pages[0].with_name("other.md"))  # still linked from a page
    pages[0] = pages[0].with_name("other.md")
    assert without_page({"copy", "paste"}, pages, tmp_path.resolve() / "kernels") == {"paste"}
    assert without_page({"copy"}, [], tmp_path.resolve() / "kernels") == {"copy"}
