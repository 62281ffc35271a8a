"""CUDA graphs: replays are the steps that they recorded, and what a replay would get wrong is refused by name."""

import gc

import numpy as np
import pytest
from checks import RTOL, check_races, check_results
from emulator import bank_turns, execution
from helpers import normal

import minidl as dl
from minidl import models, nn
from minidl.gradcheck.samples import SAMPLES
from minidl.kernels import KERNELS, _cuda
from minidl.kernels.matmul import own_products

NETS = {
    "lenet": ({"variant": "lecture", "width": 0.5}, (1, 32, 32)),
    "resnet18": ({"width": 0.03, "num_classes": 10, "stem": "small"}, (3, 9, 10)),
}


class Training:
    """A net on the GPU, and a step with momentum whose input lies in x and labels."""

    def __init__(self, name):
        options, size = NETS[name]
        dl.manual_seed(1)
        self.net = models.create(name, **options).to("cuda")
        self.optimizer = dl.optim.SGD(self.net.parameters(), 0.01, momentum=0.9, weight_decay=1e-3)
        self.x, self.labels = dl.tensor(np.zeros((3, *size), np.float32), device="cuda"), dl.tensor([0] * 3).cuda()

    def load(self, seed):
        self.x.copy_(dl.tensor(normal(*self.x.shape, seed=seed), dtype=np.float32).cuda())
        self.labels.copy_(dl.tensor(np.random.default_rng(seed).integers(0, 10, 3)).cuda())

    def step(self):
        self.optimizer.zero_grad()
        loss = models.training_loss(self.net(self.x), self.labels)
        loss.backward()
        self.optimizer.step()
        return loss

    def state(self):
        buffers = {f"velocity {i}": s["momentum_buffer"] for i, s in enumerate(self.optimizer.state.values())}
        return {k: t.detach().cpu().numpy() for k, t in {**self.net.state_dict(), **buffers}.items()}


@pytest.mark.parametrize("name", NETS)
def test_replays_are_steps_to_the_last_bit(cupy, name):
    eager, replayed, graph = Training(name), Training(name), dl.cuda.CUDAGraph()
    with own_products():
        for training in (eager, replayed):
            training.load(0)
            training.step()
        before = replayed.state()
        with dl.cuda.graph(graph):
            loss = replayed.step()
        gc.collect()
        after = replayed.state()
        assert all(np.array_equal(before[k], after[k]) for k in before)  # recorded, and not done
        for seed in (1, 2, 3):
            expected = eager.load(seed) or eager.step()
            replayed.load(seed)
            graph.replay()
            assert loss.item() == expected.item()
        got, expected = replayed.state(), eager.state()
        assert got.keys() == expected.keys() and not np.array_equal(got["velocity 0"], before["velocity 0"])
        for key, array in expected.items():
            assert np.array_equal(got[key], array), key


def test_every_operation_replays_or_refuses(cupy):
    """Over the samples: value and gradients of a replay are those of a run that is not recorded, to the last bit."""
    replays = set()
    for sample in [sample for samples in SAMPLES.values() for sample in samples]:
        inputs = [dl.Tensor(a).to("cuda").detach() for a in sample.inputs(np.random.default_rng(0))]
        leaves = [x.requires_grad_() for x in inputs if x.dtype.kind in "fc"]

        def results(cotangents=None, sample=sample, inputs=inputs, leaves=leaves):
            y = sample.f(*inputs)
            outputs = list(y) if isinstance(y, tuple | list) else [y]
            roots = [y for y in outputs if y.requires_grad]
            cotangents = cotangents or [y.detach().cos() for y in roots]
            return [*outputs, *dl.grad(roots, leaves, cotangents, allow_unused=True)], cotangents

        with own_products():
            (expected, cotangents), graph = results(), dl.cuda.CUDAGraph()
            try:
                with dl.cuda.graph(graph):
                    got, _ = results(cotangents)
            except (RuntimeError, NotImplementedError) as error:
                assert "graph" in str(error) or "captur" in str(error), sample.operation
                continue
            graph.replay()
        replays.add(sample.operation)
        for g, e in zip(got, expected, strict=True):
            assert (g is None) == (e is None)
            if e is not None:
                np.testing.assert_array_equal(g.detach().cpu().numpy(), e.detach().cpu().numpy(), sample.operation)
    assert len(replays) > 150 and {"conv2d", "max_pool2d", "linear", "cross_entropy", "einsum"} <= replays


class Things:
    """What the calls of REFUSED need, made before."""

    def __init__(self):
        self.x = dl.tensor(normal(3, 3), dtype=np.float32, device="cuda")
        self.norm = nn.BatchNorm1d(3, momentum=None).cuda()
        w = dl.tensor(normal(2, 3), dtype=np.float32, device="cuda", requires_grad=True)
        w.grad = w.detach()
        self.adam, self.sgd = dl.optim.Adam([w]), dl.optim.SGD([w], 0.1, momentum=0.9)


OUT, IN = "cuda:0 to cpu cannot be part of a CUDA graph", "cpu to cuda:0 cannot be part of a CUDA graph: send before"
ARRAY = "an array of the CPU cannot be part of a CUDA graph"
WAIT, READ = "operation not permitted when stream is capturing", "is capturing, so D2H transfers are disallowed"
EVENT = "operation not permitted on an event last recorded in a capturing stream"
REFUSED = {
    "item": (lambda t: t.x.sum().item(), OUT),
    "float": (lambda t: float(t.x.sum()), OUT),
    "a condition": (lambda t: bool(t.x.sum() > 0), OUT),
    "printing": (lambda t: repr(t.x), OUT),
    "cpu": (lambda t: t.x.cpu(), OUT),
    "averages of all batches": (lambda t: t.norm(t.x), OUT),
    "cuda": (lambda t: dl.tensor([1.0]).cuda(), IN),
    "an index": (lambda t: t.x[[0, 1]], ARRAY),
    "an index of index_select": (lambda t: t.x.index_select(0, np.array([0])), ARRAY),
    "values": (lambda t: t.x.__setitem__(0, np.ones(3, np.float32)), ARRAY),
    "a mask": (lambda t: t.x[t.x > 0], READ),
    "waiting": (lambda t: dl.cuda.synchronize(), WAIT),
    "waiting for a stream": (lambda t: dl.cuda.current_stream().synchronize(), WAIT),
    "waiting for an event": (lambda t: dl.cuda.current_stream().record_event().synchronize(), EVENT),
    "a complex product": (lambda t: t.x.to(np.complex64) @ t.x.to(np.complex64), "calling cuBLAS API during stream"),
    "dropout": (lambda t: dl.ops.dropout(t.x), "dropout cannot be part of a CUDA graph: its mask is counted"),
    "Adam": (lambda t: t.adam.step(), "Adam cannot be part of a CUDA graph: each replay would be the step of the same"),
    "GradScaler": (lambda t: dl.amp.GradScaler().unscale_(t.sgd), READ),
    "SGD": (lambda t: t.sgd.step(), "SGD's first step cannot be part of a CUDA graph: each replay would begin without"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_a_replay_would_get_wrong_is_refused(cupy, name):
    call, message = REFUSED[name]
    things, graph = Things(), dl.cuda.CUDAGraph()
    before = cupy.cuda.get_current_stream().ptr
    with pytest.raises((RuntimeError, NotImplementedError), match=message), dl.cuda.graph(graph):
        call(things)
    assert cupy.cuda.get_current_stream().ptr == before and not _cuda.is_capturing()
    assert np.isfinite(things.x.sum().item())  # the device goes on
    with pytest.raises(RuntimeError, match="CUDAGraph: there is nothing to replay; record it first"):
        graph.replay()


def test_numbers_may_be_written_and_random_numbers_be_left_alone(cupy):
    x, graph = dl.tensor(normal(2, 3), dtype=np.float32, device="cuda"), dl.cuda.CUDAGraph()
    with dl.cuda.graph(graph):
        x[0] = 2.5
        x[1, 1:].fill_(7)
        y = dl.ops.dropout(x, training=False) * 2
    graph.replay()
    assert x.tolist()[0] == [2.5] * 3 and x.tolist()[1][1:] == [7, 7] and y.tolist()[0] == [5] * 3


def test_a_graph_is_recorded_once_until_it_is_reset(cupy):
    x, graph = dl.tensor([1.0], device="cuda"), dl.cuda.CUDAGraph()
    with dl.cuda.graph(graph):
        x += 1
    with (
        pytest.raises(RuntimeError, match="graph: this CUDAGraph has recorded something already; reset"),
        dl.cuda.graph(graph),
    ):
        x += 10
    graph.replay()
    assert x.item() == 2
    graph.reset()
    with dl.cuda.graph(graph, stream=dl.cuda.Stream()):
        x *= 5
    graph.replay()
    graph.replay()
    assert x.item() == 50


def test_the_memory_is_the_graphs_own(cupy):
    x, graph, before = dl.tensor(normal(64, 64), device="cuda"), dl.cuda.CUDAGraph(), dl.cuda.memory_allocated()
    with dl.cuda.graph(graph):
        y = (x.exp() + 1).log()  # which leaves two arrays behind
    assert dl.cuda.memory_allocated() == before
    dl.cuda.empty_cache()
    graph.replay()
    assert np.allclose(y.cpu().numpy(), np.log(np.exp(normal(64, 64)) + 1))


def test_a_replay_is_named_in_errors_that_come_late(cupy):
    stand_in = pytest.importorskip("stand_in")
    x, graph = dl.tensor([1.0], device="cuda"), dl.cuda.CUDAGraph()
    with dl.cuda.graph(graph):
        y = x.relu()
    graph.replay()
    stand_in.work.fault(700)
    try:
        with pytest.raises(RuntimeError, match=r"illegal memory access .*CUDAGraph\.replay\(\)\)"):
            y.item()
    finally:
        stand_in.work.recover()


def test_tables_live_as_long_as_the_graph(cupy):
    """A table is copied to the device at once, also while work is only recorded, and from memory of the graph's own."""
    graph, y = dl.cuda.CUDAGraph(), dl.tensor([0.0, 0.0], device="cuda")
    source = np.array([3.0, 4.0], np.float32)
    with dl.cuda.graph(graph):
        y.data[...] = _cuda.table(source) * 2
    source[:] = 0
    graph.replay()
    assert y.tolist() == [6, 8] and len(graph._tables) == 1 and _cuda.table(source).get().tolist() == [0, 0]


# ---- products that are not cuBLAS's --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "dtype"),
    [*(("matmul.forward", dtype) for dtype in RTOL), ("conv2d.forward", "float32"), ("conv2d.input_grad", "float32"),
     ("conv2d.weight_grad", "float32")],
)  # fmt: skip
def test_own_products_agree_with_the_reference(cupy, name, dtype):
    with own_products(), execution(order=2):
        check_results(KERNELS[name], dtype, cupy)


def test_own_products_have_no_races(cupy):
    with own_products():
        check_races(KERNELS["matmul.forward"], cupy)


def test_own_products_have_no_bank_conflicts(cupy):
    """As matmul.cu says of its strips: rows and columns, along and across the summed axis."""
    pytest.importorskip("stand_in")  # a GPU does not count them
    rng = np.random.default_rng(0)
    a, b = (cupy.asarray(rng.standard_normal(shape).astype(np.float32)) for shape in ((1, 40, 33), (1, 33, 35)))
    with own_products(), bank_turns() as lines:
        KERNELS["matmul.forward"].gpu(a, b, cupy.zeros((1, 40, 35), np.float32))
        KERNELS["matmul.forward"].gpu(b.transpose(0, 2, 1), a.transpose(0, 2, 1), cupy.zeros((1, 35, 40), np.float32))
    assert len(lines) == 2 and all(line.turns == line.least for line in lines.values())


def test_own_products_are_those_of_a_graph(cupy, monkeypatch):
    a, b = (dl.tensor(normal(40, 40, seed=seed), dtype=np.float32, device="cuda") for seed in (1, 2))
    graph = dl.cuda.CUDAGraph()
    with dl.cuda.graph(graph):
        recorded = a @ b
    graph.replay()
    _cuda._recent.clear()
    with own_products():
        own = a @ b
    assert list(_cuda._recent) == ["matmul.product<float>"] and own.tolist() == recorded.tolist()
    assert (a @ b).tolist() != own.tolist()  # cuBLAS's sums have another order
    assert list(_cuda._recent)[1:] == ["matmul.forward by cuBLAS"]
