"""Containers: what PyTorch's do to the order and to the names, and errors that say what is wrong."""

import copy

import numpy as np
import pytest

import minidl as dl
from minidl import nn


def layers(n):
    return [nn.Linear(i + 1, i + 2) for i in range(n)]


def parameter(value=1.0):
    return nn.Parameter(np.full(2, value, np.float32))


def test_sequential():
    net = nn.Sequential({"first": nn.Linear(2, 3), "second": nn.ReLU()})
    assert list(net.state_dict()) == ["first.weight", "first.bias"]
    assert len(net) == 2 and net[-1] is net.second and [type(m) for m in net] == [nn.Linear, nn.ReLU]
    assert list(net[:1].state_dict()) == ["first.weight", "first.bias"]
    assert nn.Sequential()(5) == 5


def test_a_module_may_stand_twice_in_a_sequential():
    class Increment(nn.Module):
        def forward(self, x):
            return x + 1

    one = Increment()
    net = nn.Sequential(one, nn.Identity(), one)
    assert net(1) == 3 and len(net) == 3 and [m is one for m in net] == [True, False, True]
    assert repr(net).count("Increment") == 2 and len(list(net.children())) == 2


@pytest.mark.parametrize("kind", ["Sequential", "ModuleList"])
def test_changes_of_a_list_are_pytorchs(kind):
    """The same changes of both; the lists hold layers of telling sizes. Names, too, must agree."""
    torch = pytest.importorskip("torch")

    def run(nn):
        a, b, c, d, e, f = (nn.Linear(i + 1, 1) for i in range(6))
        net = nn.Sequential(a, b) if kind == "Sequential" else nn.ModuleList([a, b])
        seen = []

        def note():
            seen.append([(name, m.in_features) for name, m in net.named_children()])

        for change in [
            lambda: net.append(c),
            lambda: net.insert(1, d),
            lambda: net.insert(0, e),
            lambda: net.extend([nn.Linear(7, 1), nn.Linear(8, 1)]),
            lambda: net.__setitem__(2, f),
            lambda: net.__setitem__(-1, nn.Linear(9, 1)),
            lambda: net.__delitem__(1),
            lambda: net.__delitem__(slice(1, 4, 2)),
            lambda: net.pop(-1),
            lambda: net.__iadd__(type(net)(*[[nn.Linear(10, 1)]] if kind == "ModuleList" else [nn.Linear(10, 1)])),
        ]:
            change()
            note()
        both = net + net[1:]
        seen += [len(both), len(net[::2]), type(net[:1]).__name__, type(both).__name__, list(net.state_dict())]
        seen += [[name for name, _ in net[1:].named_children()], [m.in_features for m in both]]
        return seen

    assert run(nn) == run(torch.nn)


def test_a_named_sequential_keeps_its_names():
    net = nn.Sequential({"a": nn.ReLU(), "b": nn.Tanh(), "c": nn.Sigmoid()})
    del net[0]
    assert [n for n, _ in net.named_children()] == ["b", "c"]
    net[0] = nn.Identity()
    assert repr(net) == "Sequential(\n  (b): Identity()\n  (c): Sigmoid()\n)"
    assert isinstance(net.append(nn.ReLU())[2], nn.ReLU)
    with pytest.raises(ValueError, match=r"Sequential: insert: the members have names \(b, c, 2\)"):
        net.insert(0, nn.ReLU())
    taken = nn.Sequential({"1": nn.ReLU()})
    with pytest.raises(KeyError, match="append: the name '1' is taken"):
        taken.append(nn.ReLU())


def test_module_list_is_seen_by_its_owner():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = nn.ModuleList(layers(3))
            self.heads = nn.ModuleDict({"left": nn.Linear(4, 1), "right": nn.Linear(4, 2)})
            self.scales = nn.ParameterList([parameter(), parameter(2)])
            self.shifts = nn.ParameterDict({"x": parameter()})

    net = Net()
    names = [f"layers.{i}.{n}" for i in range(3) for n in ("weight", "bias")]
    names += [f"heads.{side}.{n}" for side in ("left", "right") for n in ("weight", "bias")]
    names += ["scales.0", "scales.1", "shifts.x"]
    assert list(net.state_dict()) == names == [n for n, _ in net.named_parameters()]
    assert not net.eval().layers[1].training
    assert net.layers[1] in net.layers and nn.ReLU() not in net.layers
    twin = copy.deepcopy(net)
    assert twin.load_state_dict(net.state_dict()) == ([], []) and twin.layers[0] is not net.layers[0]
    assert twin.double().scales[1].dtype == np.float64


def test_module_dict():
    a, b = nn.ReLU(), nn.Tanh()
    d = nn.ModuleDict([("a", a)])
    d["b"] = b
    d.update({"c": nn.Sigmoid(), "a": b})
    assert list(d) == list(d.keys()) == ["a", "b", "c"] and len(d) == 3 and "c" in d and "d" not in d
    assert d["a"] is b and list(d.values())[1] is b and dict(d.items())["a"] is b and d.a is b
    assert d.pop("a") is b
    del d["b"]
    assert repr(d) == "ModuleDict(\n  (c): Sigmoid()\n)"
    d.update(nn.ModuleDict({"e": a}))
    assert list(d) == ["c", "e"]
    d.clear()
    assert not len(d)


def test_parameter_list():
    p = parameter()
    ps = nn.ParameterList([p]).append(dl.tensor([3.0, 4.0]))
    ps += [parameter(5)]
    ps.extend(nn.ParameterList([parameter(6)]))
    assert ps[0] is p and isinstance(ps[1], nn.Parameter) and ps[1].requires_grad
    assert [q.data[0] for q in ps] == [1, 3, 5, 6] and list(ps.state_dict()) == ["0", "1", "2", "3"]
    ps[1] = parameter(7)
    assert isinstance(ps[1:3], nn.ParameterList) and [q.data[0] for q in ps[1:3]] == [7, 5]
    assert repr(ps[:1]) == "ParameterList(\n  (0): Parameter of shape (2,), float32\n)"
    array = np.ones(2, np.float32)
    assert nn.ParameterList([dl.Tensor(array)])[0].data is array


def test_parameter_dict():
    d = nn.ParameterDict({"a": parameter()})
    d["b"] = dl.tensor([3.0])
    assert isinstance(d["b"], nn.Parameter) and d.get("c") is None and d.get("a") is d["a"]
    assert d.setdefault("a", parameter()) is d.copy()["a"]
    both = d | nn.ParameterDict({"c": parameter()})
    assert list(both) == ["a", "b", "c"] and list(d) == ["a", "b"]
    d |= both
    assert d.pop("c") is both["c"] and list(d.state_dict()) == ["a", "b"]


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        (lambda: nn.Sequential(nn.ReLU(), 3), TypeError, "Sequential: a place needs a Module, got int"),
        (lambda: nn.Sequential()[0], IndexError, "Sequential: index 0 is out of range for 0 members"),
        (lambda: nn.Sequential(nn.ReLU())["0"], TypeError, "an index must be an integer or a slice, got '0'"),
        (lambda: nn.ModuleList([nn.ReLU()])[-2], IndexError, "ModuleList: index -2 is out of range for 1 members"),
        (lambda: nn.ModuleList(nn.ReLU()), TypeError, "ModuleList: extend needs an iterable, got ReLU"),
        (lambda: nn.ModuleList([nn.ReLU]), TypeError, "ModuleList: extend needs a Module, got type"),
        (lambda: nn.ModuleList().insert(1, nn.ReLU()), IndexError, "insert: index 1 is out of range for 0 members"),
        (lambda: nn.ModuleList()(1), TypeError, "ModuleList: a list computes nothing"),
        (lambda: nn.ModuleDict()(1), TypeError, "ModuleDict: a dictionary computes nothing"),
        (lambda: nn.ModuleDict({"a": 1}), TypeError, "ModuleDict: 'a' must be a Module, got int"),
        (lambda: nn.ModuleDict({"a": nn.ReLU()})["b"], KeyError, "ModuleDict: there is no 'b', only a"),
        (lambda: nn.ModuleDict({"keys": nn.ReLU()}), KeyError, "ModuleDict: ModuleDict has another attribute 'keys'"),
        (lambda: nn.ModuleDict({"a.b": nn.ReLU()}), ValueError, "non-empty and without dots, got 'a.b'"),
        (lambda: nn.ModuleDict({3: nn.ReLU()}), TypeError, "a name must be a string, got 3"),
        (lambda: nn.ModuleDict(5), TypeError, "update needs a dictionary or \\(name, value\\) pairs, got int"),
        (lambda: nn.ModuleDict([("a",)]), ValueError, "update: element 0 is no pair"),
        (lambda: nn.ParameterList([1.0]), TypeError, "ParameterList: extend needs a Tensor, got float"),
        (lambda: nn.ParameterList(parameter()), TypeError, "ParameterList: extend needs an iterable, got Parameter"),
        (lambda: nn.ParameterDict({"a": [1]}), TypeError, "ParameterDict: 'a' must be a Tensor, got list"),
        (lambda: nn.ParameterList([dl.tensor([1])]), TypeError, "only floating-point"),
    ],
)
def test_misuse_is_named(build, error, message):
    with pytest.raises(error, match=message):
        build()


def test_extend_with_a_wrong_member_adds_none():
    net = nn.ModuleList(layers(2))
    with pytest.raises(TypeError, match="extend needs a Module, got int"):
        net.extend([nn.ReLU(), 3])
    assert len(net) == 2
