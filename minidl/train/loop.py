"""The training loop: batches, steps, and what is measured on the way. It runs where the net's parameters are."""

import copy
import math
import time
from dataclasses import dataclass

from .. import ops
from ..amp import GradScaler, autocast
from ..cuda import to_host
from ..data import DataLoader
from ..function import no_grad
from ..models import training_loss
from ..optim import SGD, CosineAnnealingLR
from ..plan import optimize_for_training
from ..tensor import Tensor
from .metrics import correct

_EVALUATION_BATCH = 500
_AHEAD = 2  # batches that are gathered, and sent to the GPU, while the net computes


@dataclass(frozen=True)
class Score:
    """Mean loss and top-1 and top-5 accuracy over a set of images."""

    loss: float
    top1: float
    top5: float


@dataclass(frozen=True)
class Step:
    """One step of training: running means over the epoch so far."""

    epoch: int
    step: int
    loss: float
    top1: float
    images_per_second: float


@dataclass(frozen=True)
class Epoch:
    """One epoch. The train figures are means over its steps, as the weights changed; the test figures, its end's."""

    epoch: int
    lr: float
    train_loss: float
    train_top1: float
    train_top5: float
    test_loss: float
    test_top1: float
    test_top5: float
    images_per_second: float
    seconds: float


class Diverged(RuntimeError):
    """The loss is no number any more."""


def evaluate(net, images, labels):
    """The Score of a net on normalised images (N, C, H, W) and labels (N,), in evaluation mode."""
    training = net.training
    net.eval()
    total, hits = 0.0, [0, 0]
    try:
        with no_grad():
            for x, y in DataLoader(images, labels, _EVALUATION_BATCH, prefetch=_AHEAD, device=_device(net)):
                logits = net(Tensor(x))
                total += ops.cross_entropy(logits, Tensor(y), reduction="sum").item()
                hits = _add_hits(hits, logits, y)
    finally:
        net.train(training)
    return Score(total / len(labels), *(h / len(labels) for h in hits))


def _device(net):
    return next(iter(net.parameters())).device


def _add_hits(hits, logits, labels):
    """[top-1, top-5] with those of a batch added."""
    scores, labels = to_host(logits.data), to_host(labels)
    return [h + correct(scores, labels, k) for h, k in zip(hits, (1, 5), strict=True)]


def compile_kernels(net, dataset, recipe):
    """Compute the gradients of a copy of the net once, so that what has to be compiled is, before a clock starts."""
    count = recipe.batch_size
    output = copy.deepcopy(net)(Tensor(dataset.normalize(dataset.train_images[:count])))
    training_loss(output, Tensor(dataset.train_labels[:count])).backward()


def fit(net, dataset, recipe, seed, amp=False):
    """Train a net on a Dataset by SGD while a half cosine takes the rate from recipe.lr to 0.

    The seed decides the order of the images and their augmentation; the weights are the net's, and so is the device.
    While it is trained the net runs as after optimize_for_training (plan.py), unless it has a forward of its own.

    Args:
        amp: in mixed precision (amp.py), on a GPU.

    Yields:
        a Step after each step and an Epoch after each epoch.

    Raises:
        Diverged: the loss became infinite or NaN. ValueError: amp, and the net is on the CPU.
    """
    own = "forward" in vars(net)
    net = net if own else optimize_for_training(net)
    try:
        yield from _epochs(net, dataset, recipe, seed, amp)
    finally:
        if not own:
            del net.forward


def _epochs(net, dataset, recipe, seed, amp):
    """What fit yields."""
    images, device = dataset.normalize(dataset.train_images), _device(net)
    loader = DataLoader(
        images, dataset.train_labels, recipe.batch_size, True, seed, transform=recipe.transform,
        prefetch=_AHEAD, device=device,
    )  # fmt: skip
    scaler = GradScaler(enabled=amp)
    test_images = dataset.normalize(dataset.test_images)
    optimizer = SGD(net.parameters(), recipe.lr, momentum=recipe.momentum, weight_decay=recipe.weight_decay)
    schedule = CosineAnnealingLR(optimizer, recipe.epochs * len(loader))
    net.train()
    for epoch in range(1, recipe.epochs + 1):
        start = time.perf_counter()
        rate = optimizer.param_groups[0]["lr"]
        seen, total, hits = 0, 0.0, [0, 0]
        for step, (x, y) in enumerate(loader, 1):
            with autocast(device, enabled=amp):
                output = net(Tensor(x))
                loss = training_loss(output, Tensor(y))
            logits = output if isinstance(output, Tensor) else output.logits
            if not math.isfinite(loss.item()):
                raise Diverged(
                    f"the loss is {loss.item()} at step {step} of epoch {epoch}: "
                    f"a lower learning rate than {recipe.lr:g} may help"
                )
            optimizer.zero_grad()
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
            schedule.step()
            seen += len(y)
            total += loss.item() * len(y)
            hits = _add_hits(hits, logits, y)
            yield Step(epoch, step, total / seen, hits[0] / seen, seen / (time.perf_counter() - start))
        speed = seen / (time.perf_counter() - start)
        test = evaluate(net, test_images, dataset.test_labels)
        yield Epoch(
            epoch, rate, total / seen, hits[0] / seen, hits[1] / seen, test.loss, test.top1, test.top5, speed,
            time.perf_counter() - start,
        )  # fmt: skip
