"""minidl: a deep-learning framework to read."""

from pathlib import Path

# In a checkout kernels/ stands beside minidl/; setup.cfg installs it as minidl.kernels.
if (Path(__file__).resolve().parents[1] / "setup.cfg").is_file():
    __path__.append(str(Path(__file__).resolve().parents[1]))

# ruff: noqa: E402 (kernels must be findable before anything imports it)
from . import amp, cuda, data, models, nn, onnx, ops, optim
from ._version import __version__
from .autograd import grad
from .checkpoint import checkpoint
from .function import Function, detect_anomaly, enable_grad, is_grad_enabled, no_grad, set_grad_enabled
from .gradcheck import GradcheckError, GradcheckWarning, gradcheck, gradgradcheck
from .inference import optimize_for_inference
from .kernels import exact_convolution, get_num_threads, set_num_threads, use_kernels
from .plan import optimize_for_training
from .random import manual_seed
from .serialization import load, load_metadata, save
from .tensor import Tensor, tensor

__all__ = [
    "Function",
    "GradcheckError",
    "GradcheckWarning",
    "Tensor",
    "__version__",
    "amp",
    "checkpoint",
    "cuda",
    "data",
    "detect_anomaly",
    "enable_grad",
    "exact_convolution",
    "get_num_threads",
    "grad",
    "gradcheck",
    "gradgradcheck",
    "is_grad_enabled",
    "load",
    "load_metadata",
    "manual_seed",
    "models",
    "nn",
    "no_grad",
    "onnx",
    "ops",
    "optim",
    "optimize_for_inference",
    "optimize_for_training",
    "save",
    "set_grad_enabled",
    "set_num_threads",
    "tensor",
    "use_kernels",
]
