"""minidl train MODEL --data NAME …: train a net and keep what the run leaves."""

import time
from dataclasses import replace
from datetime import timedelta

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from .. import __version__, cuda, data, kernels, models, random
from ..train import Epoch, Record, compile_kernels, evaluate, fit, recipe
from ._common import mistakes, model_options


@click.command()
@click.argument("model")
@click.option("--variant", help="One of the model's variants.")
@model_options
@click.option("--data", "data_name", default="digits", show_default=True, help=f"One of {', '.join(data.DATASETS)}.")
@click.option("--epochs", type=click.IntRange(1), help="Passes over the training images.")
@click.option("--batch-size", type=click.IntRange(1), help="Images per step.")
@click.option(
    "--lr",
    type=float,
    help="Learning rate at the start; it falls to 0.",
)
@click.option(
    "--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the weights, order and distortions."
)
@click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True)
@click.option("--amp", is_flag=True, help="Mixed precision: compute in float16 on the GPU where that is safe.")
@click.option(
    "--out", type=click.Path(), help="Folder for weights, metrics and curves; those of an earlier run are replaced."
)
def train(model, variant, options, data_name, epochs, batch_size, lr, seed, device, amp, out):
    """Train MODEL, such as lenet, resnet20 or vgg16. Settings left out are those that suit the model and the data."""
    if amp and device == "cpu":
        raise click.ClickException("--amp needs --device cuda: the CPU computes in float32 alone")
    with mistakes():
        random.manual_seed(seed)
        cold = device == "cpu" and kernels.is_cold()  # the memory of the net's weights is the first that compiles
        if model not in models.MODELS:
            models.create(model)  # says which there are
        dataset = data.load(data_name)
        channels, classes = dataset.train_images.shape[1], len(dataset.class_names)
        options = {**models.small_image_options(model), **options}
        net = models.create(model, variant, num_classes=classes, in_channels=channels, **options)
        chosen = {"epochs": epochs, "batch_size": batch_size, "lr": lr}
        settings = replace(recipe(model, data_name), **{k: v for k, v in chosen.items() if v is not None})
        try:
            net.to(device)
        except RuntimeError as error:  # its one line says what is missing
            raise click.ClickException(str(error)) from None
        record = Record(out) if out else None
    _train(net, dataset, settings, seed, record, model, device, amp, cold)


def _train(net, dataset, settings, seed, record, model, device, amp, cold):
    start = time.perf_counter()
    console = Console(highlight=False, soft_wrap=True)
    steps = -(-len(dataset.train_labels) // settings.batch_size)
    console.print(
        f"{model} on {dataset.name}: {len(dataset.train_labels):,} images to train on, "
        f"{len(dataset.test_labels):,} to test; "
        f"{settings.epochs} epochs of {steps} steps, batch {settings.batch_size}, lr {settings.lr:g}, seed {seed}"
        + (f"; {cuda.get_device_name()}{', mixed precision' * amp}" if device == "cuda" else "")
    )
    if cold:
        console.print("compiling the kernels for this CPU, once: about half a minute")
        compile_kernels(net, dataset, settings)
    metadata = {
        **net.created_as, "data": dataset.name, "classes": dataset.class_names, "mean": dataset.mean,
        "std": dataset.std, "seed": seed, "minidl": __version__,
    }  # fmt: skip
    began = time.perf_counter()
    with _progress(console) as progress:
        task = progress.add_task("", total=settings.epochs * steps, epoch="", loss="", top1="", speed="")
        for event in fit(net, dataset, settings, seed, amp):
            if isinstance(event, Epoch):
                if record:
                    record.add(event, net, {**metadata, "epoch": event.epoch})
                if not console.is_terminal:
                    console.print(_line(event, settings.epochs, time.perf_counter() - began))
                continue
            progress.update(
                task,
                advance=1,
                epoch=f"epoch {event.epoch}/{settings.epochs}",
                loss=f"loss {event.loss:.4f}",
                top1=f"accuracy {event.top1:.4f}",
                speed=f"{event.images_per_second:,.0f} images/s",
            )
    scores = [
        evaluate(net, dataset.normalize(images), labels)
        for images, labels in (
            (dataset.train_images, dataset.train_labels),
            (dataset.test_images, dataset.test_labels),
        )
    ]
    if record:
        record.draw_curves(f"{model} on {dataset.name}, seed {seed}")
        console.print(f"wrote {', '.join(sorted(f.name for f in record.folder.iterdir()))} to {record.folder}")
    else:
        console.print("nothing was kept: --out DIR keeps the weights, metrics and curves")
    train_score, test_score = scores
    console.print(
        f"train accuracy: top-1 {train_score.top1:.4f}, top-5 {train_score.top5:.4f}; "
        f"test accuracy: top-1 {test_score.top1:.4f}, top-5 {test_score.top5:.4f}; {time.perf_counter() - start:.1f} s"
    )


def _progress(console):
    columns = "{task.fields[epoch]}", "{task.fields[loss]}", "{task.fields[top1]}", "{task.fields[speed]}"
    first, *others = (TextColumn(column) for column in columns)
    return Progress(
        first,
        BarColumn(),
        *others,
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
        transient=False,
    )


def _line(epoch, epochs, elapsed):
    """An epoch as a plain line, where there is no terminal to draw a bar on."""
    left = timedelta(seconds=round(elapsed / epoch.epoch * (epochs - epoch.epoch)))
    return (
        f"epoch {epoch.epoch}/{epochs}  loss {epoch.train_loss:.4f}  accuracy {epoch.train_top1:.4f}  "
        f"test loss {epoch.test_loss:.4f}  test accuracy {epoch.test_top1:.4f}  "
        f"{epoch.images_per_second:,.0f} images/s  {left} left"
    )
