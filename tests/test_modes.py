"""no_grad, enable_grad and detect_anomaly; threads."""

import threading

import numpy as np
import pytest
from graphs import leaf, scalar

import minidl as dl

# ---- modes -----------------------------------------------------------------------------------------------------------


def test_no_grad_and_enable_grad_nest():
    x = leaf(1.0)
    assert dl.is_grad_enabled()
    with dl.no_grad():
        assert not dl.is_grad_enabled() and not (x * 2).requires_grad
        with dl.enable_grad():
            assert (x * 2).requires_grad
            with dl.set_grad_enabled(False):
                assert not (x * 2).requires_grad
            with dl.set_grad_enabled(True):
                assert (x * 2).requires_grad
        assert not dl.is_grad_enabled()
    assert (x * 2).requires_grad
    with pytest.raises(KeyError), dl.no_grad():
        raise KeyError
    assert dl.is_grad_enabled()


def test_a_mode_object_can_be_entered_again():
    mode = dl.no_grad()
    with mode, mode:
        assert not dl.is_grad_enabled()
    assert dl.is_grad_enabled()
    with mode:
        assert not dl.is_grad_enabled()


def test_modes_as_decorators():
    @dl.no_grad()
    def quiet(x, depth=2):
        """Its own docstring."""
        assert not dl.is_grad_enabled()
        return quiet(x, depth - 1) if depth else loud(x)

    @dl.enable_grad()
    def loud(x):
        return x * 2

    assert quiet(leaf(1.0)).requires_grad and dl.is_grad_enabled()
    assert quiet.__name__ == "quiet" and quiet.__doc__ == "Its own docstring."


def test_modes_are_of_one_thread():
    seen = {}

    def other():
        seen["at start"] = dl.is_grad_enabled()
        with dl.no_grad():
            inside.set()
            leave.wait(10)
        seen["at end"] = dl.is_grad_enabled()

    inside, leave = threading.Event(), threading.Event()
    with dl.no_grad():
        thread = threading.Thread(target=other)
        thread.start()
        inside.wait(10)
    seen["here"] = dl.is_grad_enabled()
    leave.set()
    thread.join()
    assert seen == {"at start": True, "here": True, "at end": True}


def test_backward_on_several_threads():
    """Each on a graph of its own, with a decorated function that several threads are inside of at once."""
    barrier = threading.Barrier(4, timeout=10)
    results = {}

    @dl.no_grad()
    def together():
        barrier.wait()
        return dl.is_grad_enabled()

    def work(number):
        x = scalar(number)
        quiet = together()
        for _ in range(50):
            (x * x).backward()
        results[number] = quiet, dl.is_grad_enabled(), x.grad.item()

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {n: (False, True, 100.0 * n) for n in range(4)}


# ---- detect_anomaly --------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize(
    "x, f, kind, name, number",
    [
        (0.0, lambda x: x.sqrt() * 0, "NaN", "Sqrt", 0),
        (0.0, lambda x: x.sqrt(), "Inf", "Sqrt", 0),
        (0.0, lambda x: 1 / x, "Inf", "Div", 1),
        (1e200, lambda x: x * x * x.detach(), "Inf", "Mul", 0),
    ],
)
def test_detect_anomaly_names_the_line_of_the_forward_operation(x, f, kind, name, number):
    x = scalar(x)
    with dl.detect_anomaly():
        y = f(x)
        with pytest.raises(RuntimeError) as caught:
            y.backward()
    line = f.__code__.co_firstlineno
    assert str(caught.value).startswith(f"{name}.backward produced {kind} in the gradient of input number {number}")
    assert f"{__file__}:{line}, in <lambda>: (" in str(caught.value)
    assert x.grad is None
    f(x).backward()  # outside nothing is checked
    assert not np.isfinite(x.grad.item())


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_detect_anomaly_without_a_recorded_line():
    x = scalar(0)
    y = x.sqrt()
    with dl.detect_anomaly(), pytest.raises(RuntimeError, match=r"an operation that ran outside detect_anomaly\(\)"):
        y.backward()


def test_detect_anomaly_lets_finite_gradients_pass():
    x = scalar(2)
    with dl.detect_anomaly():
        (x * x).backward()
        with dl.detect_anomaly():
            pass
        (g,) = dl.grad(x.log(), x, create_graph=True)
        g.backward()
    assert x.grad.item() == 4 - 0.25


# ---- detect_anomaly in depth -----------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_detect_anomaly_names_the_users_line_of_a_module():
    net = dl.nn.Sequential(dl.nn.Linear(2, 2), dl.nn.Linear(2, 2))
    net[1].weight.data[...] = [[1.0, -1.0], [-1.0, 1.0]]  # infinity less infinity
    with dl.detect_anomaly():
        y = net(dl.tensor([[1.0, 2.0]]))  # the users line
        with pytest.raises(RuntimeError, match=r"backward produced NaN .*test_modes.py:\d+, .*# the users line"):
            y.backward([[np.inf, np.inf]])


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_detect_anomaly_says_where_the_forward_pass_went_wrong():
    x = leaf(-1.0, 1.0)
    with dl.detect_anomaly():
        y = x.log()  # the first
        z = (y * y).exp()
        with pytest.raises(RuntimeError) as caught:
            z.sum().backward()
    assert "Exp.backward produced NaN" in str(caught.value)
    assert "Log.forward had given NaN or Inf before, at" in str(caught.value)
    assert str(caught.value).endswith("# the first")
