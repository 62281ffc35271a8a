"""Operations that the mutants bring with them, because minidl has none or none so plain: beside PyTorch's."""

import pytest
from helpers import check_against_torch, rng

from minidl.explain.mutants import MUTANTS

torch = pytest.importorskip("torch")
F = torch.nn.functional

_SIDES = torch.tensor([1.0, -1.0, 1.0, -1.0, 1.0, -1.0], dtype=torch.float64)
TORCH = {
    "pow-exponent-not-lowered": torch.pow,
    "maximum-ties-to-both": torch.maximum,
    "atan2-gradients-exchanged": torch.atan2,
    "remainder-of-a-constant": torch.remainder,
    "log1p-without-the-one": torch.log1p,
    "rsqrt-squared": torch.rsqrt,
    "cos-without-the-minus": torch.cos,
    "erf-of-the-normal-density": torch.erf,
    "sigmoid-of-the-input": torch.sigmoid,
    "silu-without-the-product-rule": F.silu,
    "softplus-that-overflows": F.softplus,
    "leaky-relu-on-the-wrong-side": lambda x: F.leaky_relu(x, 0.1),
    "elu-without-alpha": lambda x: F.elu(x, 1.5),
    "gelu-of-the-approximation": F.gelu,
    "gelu-with-two-digits-exchanged": lambda x: F.gelu(x, approximate="tanh"),
    "huber-loss-of-the-square": lambda x: F.huber_loss(x, torch.zeros_like(x), reduction="none"),
    "cumsum-not-reversed": lambda x: torch.cumsum(x, 0),
    "logsumexp-that-overflows": lambda x: torch.logsumexp(x, 1, keepdim=True),
    "var-divided-by-n": lambda x: torch.var(x, 1, keepdim=True),
    "std-of-the-variance": lambda x: torch.std(x, 1, keepdim=True),
    "norm-of-zero": lambda x: torch.linalg.vector_norm(x, dim=1, keepdim=True),
    "prod-by-division": lambda x: torch.prod(x, 1, keepdim=True),
    "cumprod-of-one-term": lambda x: torch.cumprod(x, 0),
    "sort-by-the-same-permutation": lambda x: torch.sort(x)[0],
    "tile-as-repeat-interleave": lambda x: torch.tile(x, (3,)),
    "split-in-reverse": lambda x: torch.split(x, [2, 3]),
    "roll-in-the-same-direction": lambda x: torch.roll(x, 1, 0),
    "pad-off-by-one": lambda x: F.pad(x, (2, 1)),
    "replicate-pad-cropped": lambda x: F.pad(x[None, None], (1, 1), mode="replicate")[0, 0],
    "tril-as-triu": torch.tril,
    "diagonal-spread-over-columns": torch.diagonal,
    "gather-that-overwrites": lambda x, index: torch.gather(x, 1, index),
    "index-with-plus-equals": F.embedding,
    "index-add-without-the-index": lambda x, s: torch.index_add(x, 0, torch.tensor([0, 2, 2, 3]), s),
    "einsum-with-letters-exchanged": lambda a, w, b: torch.einsum("ni,oij,nj->no", a, w, b),
    "attention-scores-without-the-scale": lambda q, k: q @ k.T / 2,
    "outer-transposed": torch.outer,
    "conv2d-without-the-stride": lambda x, w, b: F.conv2d(x, w, b, 2),
    "conv2d-cropped-off-by-one": lambda x, w, b: F.conv2d(x, w, b, 1, 1),
    "conv2d-without-the-dilation": lambda x, w, b: F.conv2d(x, w, b, 1, 0, 2),
    "conv2d-with-groups-mixed": lambda x, w, b: F.conv2d(x, w, b, groups=2),
    "max-pool-that-overwrites": lambda x: F.max_pool2d(x, 3, 1),
    "max-pool-ties-counted-twice": lambda x: F.max_pool2d(x, 2),
    "max-pool-of-the-padded-place": lambda x: F.max_pool2d(x, 2, 2, 1),
    "avg-pool-of-full-windows": lambda x: F.avg_pool2d(x, 2, 2, 1, count_include_pad=False),
    "batch-norm-of-a-sample": lambda x, w, b: F.batch_norm(x, None, None, w, b, training=True, eps=1e-2),
    "batch-norm-without-a-small-eps": lambda x, w, b: F.batch_norm(x, None, None, w, b, training=True),
    "layer-norm-over-the-batch": lambda x, w, b: F.layer_norm(x, (4,), w, b, eps=1e-2),
    "normalize-by-a-constant": F.normalize,
    "binary-cross-entropy-with-the-sigmoid-twice": F.binary_cross_entropy_with_logits,
    "hinge-without-the-margin": lambda x: F.relu(1 - x * _SIDES).mean(),
}


@pytest.mark.parametrize("name", TORCH)
def test_values_and_gradients(name):
    arrays = MUTANTS[name].inputs(rng(0))
    check_against_torch(MUTANTS[name].right, TORCH[name], *arrays, second=False)
