"""The README's Python examples run, and give what their comments say."""

import re
from pathlib import Path

import numpy as np

import minidl as dl

README = Path(__file__).resolve().parents[1] / "README.md"


def test_the_examples_run_and_give_what_they_say():
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) == 3
    dl.manual_seed(0)
    names = {"digits": dl.data.load("digits")}
    for block in blocks:
        exec(block, names)  # noqa: S102
    np.testing.assert_allclose(names["x"].grad.data, [[2.25, -4.0], [6.25, 1.25]])
    np.testing.assert_allclose(names["h"].data, 6 * names["x"].data)
    square = names["Square"].apply(names["x"])
    np.testing.assert_allclose(dl.grad(square.sum(), [names["x"]])[0].data, 2 * names["x"].data)
    digits, net = names["digits"], names["net"]
    score = dl.ops.cross_entropy(net(dl.Tensor(digits.normalize(digits.test_images))), dl.Tensor(digits.test_labels))
    assert score.item() < 1.5  # one epoch; chance would be log 10 = 2.3
