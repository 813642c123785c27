"""Whole models as ONNX files: the same numbers in ONNX Runtime, the names, and what is refused."""

from __future__ import annotations

import inspect
import io
import sys

import numpy as np
import onnx
import pytest
import torch

import minicnn
from minicnn import context, nn
from minicnn.arguments import ArgumentError
from minicnn.autograd import operation
from minicnn.backends import backend_of
from minicnn.nn import functional as F
from minicnn.onnx import WITHOUT_MEANING, export, graph
from nin.kind import CLOTHES
from nin.presets import PRESETS
from nin.study import classics

from .arrays import array, tensor
from .test_onnx_operations import Function, run, runner

BATCHES = (1, 3, 8)


class Branches(nn.Module):
    """Two paths that meet twice, a part of the channels, and a gate from the mean of each map."""

    def __init__(self):
        super().__init__()
        self.one, self.three = nn.Conv2d(2, 4, 1), nn.Conv2d(2, 4, 3, padding=1)
        self.gate, self.head = nn.Linear(8, 8), nn.Linear(8, 5)

    def forward(self, x):
        y = minicnn.cat([self.one(x), F.relu(self.three(x))], 1)
        gate = F.sigmoid(self.gate(y.mean((2, 3))))
        y = y * gate.view(len(x), -1, 1, 1) + minicnn.cat([x, x, x, x], 1)
        y = F.max_pool2d(y, 3, 2, ceil_mode=True)[:, :, 1:].flatten(2).max(2).values
        return F.log_softmax(self.head(y), dim=1), y


def images(n, *shape, dtype="float32", seed=0):
    return np.random.default_rng(seed).standard_normal((n, *shape)).astype(dtype)


def preset(name):
    size, _ = PRESETS[name].input_size()
    return lambda: (PRESETS[name].network_for(CLOTHES), (CLOTHES.channels, size, size))


def drawn(make):
    """A network for evaluation, and its images' shape; weights are drawn in NumPy, in a second."""
    with context.using(skip_init=True):
        model, shape = make()
    rng = np.random.default_rng(0)
    for p in model.parameters():
        fan_in = max(1, p.numel() // len(p))
        p.data = tensor(rng.standard_normal(p.shape, "float32") * np.float32(1 / fan_in**0.5))
    return model.eval(), shape


NETWORKS = {
    **{name: preset(name) for name in PRESETS},
    "LeNet-5": lambda: (classics.lenet(), (1, 28, 28)),
    "AlexNet": lambda: (classics.alexnet(), (3, 224, 224)),
    "AlexNet for 28": lambda: (classics.alexnet28(), (1, 28, 28)),
    "VGG-11": lambda: (classics.vgg(classics.VGG11), (3, 224, 224)),
    "branches": lambda: (Branches(), (2, 9, 9)),
}


@pytest.mark.cpu
@pytest.mark.parametrize("name", NETWORKS)
def test_onnx_runtime_computes_networks_at_any_batch(name):
    model, shape = drawn(NETWORKS[name])
    proto = export(model, tensor(images(1, *shape)))
    x = images(max(BATCHES), *shape, seed=1)
    with minicnn.no_grad(), context.using(conv_algorithm="auto"):
        expected = model(tensor(x))
    expected = array(expected if isinstance(expected, minicnn.Tensor) else expected[0])
    compute, most = runner(proto), abs(expected).max()
    for n in BATCHES:
        np.testing.assert_allclose(compute(x[:n]), expected[:n], rtol=0, atol=1e-5 * most)


@pytest.mark.cuda
def test_a_model_on_a_gpu_gives_the_same_file():
    minicnn.manual_seed(0)
    model = Branches()
    x = tensor(images(2, 2, 9, 9))
    here = export(model, x).SerializeToString()
    assert export(model.cpu(), x.cpu()).SerializeToString() == here


def test_the_example_and_the_generator_stay_as_they_are():
    class Noisy(nn.Module):
        def forward(self, x):
            minicnn.randn(3)
            return F.relu(x, inplace=True)

    before = minicnn.random.default_generator.get_state()
    x = tensor(images(2, 3))
    export(Noisy(), x)
    np.testing.assert_array_equal(array(x), images(2, 3))
    assert minicnn.random.default_generator.get_state() == before


def test_float64_is_exported_as_such_and_right_by_onnxs_own_reference():
    """ONNX Runtime has no float64 convolution for a CPU."""
    from onnx.reference import ReferenceEvaluator

    model = Branches().double()
    x = images(3, 2, 9, 9, dtype="float64")
    proto = export(model, tensor(x))
    onnx.checker.check_model(proto, full_check=True)
    got, _ = ReferenceEvaluator(proto).run(None, {"x": x})
    assert got.dtype == "float64"
    np.testing.assert_allclose(got, array(model(tensor(x))[0]), rtol=1e-12)


def test_a_float64_model_without_convolutions_runs_in_onnx_runtime():
    model, x = nn.Sequential(nn.Linear(3, 2), nn.Softmax(1)).double(), images(3, 3, dtype="float64")
    np.testing.assert_allclose(run(export(model, tensor(x)), x), array(model(tensor(x))), 1e-12)


# --- names ---------------------------------------------------------------------------------------


def described(values):
    """Inputs or outputs as (name, lengths)."""
    return [
        (v.name, [d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim]) for v in values
    ]


def test_weights_have_their_names_and_values():
    model = Branches()
    proto = export(model, tensor(images(1, 2, 9, 9)))
    values = {i.name: onnx.numpy_helper.to_array(i) for i in proto.graph.initializer}
    for name, weight in model.state_dict().items():
        np.testing.assert_array_equal(values[name], array(weight))


def test_inputs_are_named_as_the_arguments_and_outputs_are_numbered():
    proto = export(Branches(), tensor(images(1, 2, 9, 9)))
    assert described(proto.graph.input) == [("x", ["batch", 2, 9, 9])]
    assert described(proto.graph.output) == [("output_0", ["batch", 5]), ("output_1", ["batch", 8])]


def test_names_that_are_given_are_taken():
    proto = export(
        Branches(),
        (tensor(images(1, 2, 9, 9)),),
        input_names=["pictures"],
        output_names=["log_p", "features"],
        dynamic_axes={"pictures": {0: "n"}, "log_p": {0: "n"}},
    )
    assert described(proto.graph.input) == [("pictures", ["n", 2, 9, 9])]
    assert [name for name, _ in described(proto.graph.output)] == ["log_p", "features"]


class Several(nn.Module):
    def forward(self, x, parts, scale=1.0, *, shift=None):
        return {"sum": (x + parts[0]) * scale, "more": [parts[1], shift]}


def test_inputs_may_be_nested_by_name_and_beside_numbers():
    x, y, z = (tensor(images(2, 3, seed=seed)) for seed in range(3))
    proto = export(Several(), (x, (y, z), 2.0), kwargs={"shift": z})
    assert [name for name, _ in described(proto.graph.input)] == [
        "x",
        "parts_0",
        "parts_1",
        "shift",
    ]
    compute = runner(proto)
    got = compute(*map(array, (x, y, z, z)))
    np.testing.assert_allclose(got, (array(x) + array(y)) * 2, rtol=1e-6)


def test_what_is_handed_on_as_it_is_is_an_output_all_the_same():
    x = tensor(images(2, 3))
    proto = export(Function(lambda x: (x, x * 2, minicnn.ones(3))), x)
    onnx.checker.check_model(proto, full_check=True)
    assert [name for name, _ in described(proto.graph.output)] == [f"output_{i}" for i in range(3)]


def test_a_weight_that_two_layers_share_is_there_once():
    first = nn.Linear(3, 3, bias=False)
    model = nn.Sequential(first, nn.ReLU(), first)
    proto = export(model, tensor(images(2, 3)))
    assert [i.name for i in proto.graph.initializer] == ["0.weight"]


# --- the batch -----------------------------------------------------------------------------------

BATCHED = {
    "flatten": lambda x: x.flatten(1),
    "a view with -1": lambda x: x.view(len(x), -1),
    "a view of -1": lambda x: x.view(-1, 6),
    "pixels as rows": lambda x: x.permute(0, 2, 1).reshape(len(x) * 3, 2),
    "images in the middle": lambda x: x.reshape(1, len(x), 6),
    "rows up to the last": lambda x: x[: len(x), 1:],
    "rows but the last": lambda x: x[:-1],
    "zeros beside": lambda x: minicnn.cat([x.flatten(1), minicnn.zeros(len(x), 2)], 1),
    "ones in the middle": lambda x: x.permute(1, 0, 2) * minicnn.ones(2, len(x), 3),
    "a row for each": lambda x: minicnn.cat([x, minicnn.arange(3.0).expand(len(x), 1, 3)], 1),
    "all rows": lambda x: x.mean(0, keepdim=True).expand_as(x) + x[:1].expand(len(x), -1, -1),
    "the mean of the batch": lambda x: x - x.mean(0),
    "the largest of the batch": lambda x: (x == x.max()).float(),
}


@pytest.mark.parametrize("name", BATCHED)
@pytest.mark.parametrize("example", [1, 2, 5])
def test_the_batch_may_have_another_length_than_the_examples(name, example):
    function = BATCHED[name]
    compute = runner(export(Function(function), tensor(images(example, 2, 3))))
    for n in (1, 2, 3, 8):
        x = images(n, 2, 3, seed=n)
        np.testing.assert_allclose(compute(x), array(function(tensor(x))), rtol=1e-5, atol=1e-6)


OTHERWISE = {
    "a factor": (lambda x: x * len(x), "multiply has 2 and 5 as an argument"),
    "a number of rows": (lambda x: x[: len(x) // 2], "getitem has 1 and 2 as an argument"),
    "an even number of rows": (lambda x: x[: len(x) // 2 * 2], "getitem has"),
    "numbers of rows": (lambda x: x * minicnn.arange(len(x)).view(-1, 1, 1), "argument of shape"),
    "pairs": (lambda x: x.reshape(len(x) // 2, 2, 6), "takes a batch of 2, and not of 5: reshape"),
    "each row": (lambda x: minicnn.stack([row * 2 for row in x]), "operations are not the same"),
    "another axis": (lambda x: x.sum(0 if len(x) > 4 else 1), "shapes|has"),
    "a batch of 1 as no axis": (lambda x: x.squeeze().relu(), r"of 2 and 1 .* squeeze\(dim\)"),
    "as many axes": (lambda x: x.view(*[1] * len(x), -1), "shapes"),
    "as many places": (
        lambda x: x.flatten(1)[:, list(range(len(x)))],
        "getitem has an argument of shape",
    ),
}


@pytest.mark.parametrize("name", OTHERWISE)
def test_what_depends_on_the_batch_otherwise_is_refused(name):
    function, message = OTHERWISE[name]
    with pytest.raises(ArgumentError, match=message) as error:
        export(Function(function), tensor(images(2, 2, 3)))
    assert "dynamic_axes={} exports for the example's batch alone" in str(error.value)
    x = images(2, 2, 3)
    got = run(export(Function(function), tensor(x), dynamic_axes={}), x)
    np.testing.assert_allclose(got, array(function(tensor(x))), rtol=1e-5, atol=1e-6)


def test_two_inputs_are_of_one_batch():
    function = Function(lambda x, y: x + y)
    x, y = tensor(images(2, 3)), tensor(images(1, 3))
    proto = export(function, (x, y))
    assert described(proto.graph.input)[1] == ("inputs_1", [1, 3])
    with pytest.raises(ArgumentError, match="'inputs_1' has 1 rows of 'n' where 'inputs_0' has 2"):
        export(function, (x, y), dynamic_axes={"inputs_0": {0: "n"}, "inputs_1": {0: "n"}})
    with pytest.raises(ArgumentError, match="'inputs_1' has 2 rows of 'm' where"):
        export(function, (x, x), dynamic_axes={"inputs_0": {0: "n"}, "inputs_1": {0: "m"}})


class Dim:
    """What `torch.export.Dim("n")` is."""

    def __init__(self, name):
        self.__name__ = name


SHAPES = {
    "a name": {"x": {0: "n"}},
    "a Dim": {"x": {0: Dim("n")}},
    "by place": ({0: "n"},),
    "axis by axis": (("n", None, None, None),),
    "fixed ones": {"x": {0: "n", 1: None, 2: 9}},
}


@pytest.mark.parametrize("shapes", SHAPES)
def test_dynamic_shapes_are_taken_as_pytorch_takes_them(shapes):
    proto = export(Branches(), tensor(images(2, 2, 9, 9)), dynamic_shapes=SHAPES[shapes])
    assert described(proto.graph.input) == [("x", ["n", 2, 9, 9])]


# --- what is refused -----------------------------------------------------------------------------


@operation
def softplus(x):
    """An operation of a program's own."""
    xp = backend_of(x).xp
    return xp.logaddexp(x, 0), lambda g: g / (1 + xp.exp(-x))


def test_an_operation_of_ones_own_is_named_unless_a_row_is_given():
    function, x = Function(lambda x: softplus(x * 2)), images(2, 3)
    with pytest.raises(ArgumentError, match="export: softplus: there is no row for this operation"):
        export(function, tensor(x))
    table = {softplus: lambda g, x: g.node("Softplus", x)}
    proto = export(function, tensor(x), custom_translation_table=table)
    np.testing.assert_allclose(run(proto, x), np.logaddexp(2 * x, 0), rtol=1e-5)


def test_an_operation_that_nothing_needs_is_no_hindrance():
    x = images(2, 3)
    proto = export(Function(lambda x: (softplus(x), x * 2)[1]), tensor(x))
    assert [node.op_type for node in proto.graph.node] == ["Mul"]


def doubled(x):
    return minicnn.tensor(array(x) * 2)


def written_into(x):
    y = minicnn.zeros_like(x)
    y[:] = x
    return y + x


def seen_through_a_view(x):
    y = x * 2
    y[0].fill_(0)
    return y + x


X = images(2, 3)
REFUSED = {
    "dropout while training": (lambda x: F.dropout(x), "dropout: the model is in training mode"),
    "item()": (lambda x: x * x.max().item(), r"item\(\) reads a value that comes from the input"),
    "a condition": (lambda x: x if x.sum() > 0 else -x, r"item\(\) reads"),
    "tolist()": (lambda x: minicnn.tensor(x.tolist()), r"tolist\(\) reads"),
    "numpy()": (doubled, r"numpy\(\) reads"),
    "an index": (lambda x: x[:, x.argmax(1)[0]], "a tensor as the number of a place reads"),
    "a mask": (lambda x: x[x > 0], "getitem: a mask that comes from the input"),
    "chance": (lambda x: x + minicnn.randn(3), "add has an argument of shape"),
    "an array of its own": (lambda x: minicnn.Tensor(x.array * 2) + 1, "add has an argument of"),
    "writing into another": (written_into, "add has an argument of shape"),
    "writing through a view": (seen_through_a_view, "add: a tensor of shape .* by fill_"),
    "no tensor": (lambda x: x.shape, "must return Tensors, alone or in tuples, got int"),
}


@pytest.mark.cpu
@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("options", [{}, {"dynamic_axes": {}}], ids=["any batch", "one batch"])
def test_what_a_graph_can_not_do_is_refused_in_one_line(name, options):
    function, message = REFUSED[name]
    with pytest.raises((ArgumentError, TypeError), match=f"^export: .*{message}") as error:
        export(Function(function), tensor(X), **options)
    assert "\n" not in str(error.value)


ARGUMENTS = {
    "no module": (lambda: export(lambda x: x, tensor(X)), "model must be a Module, got function"),
    "an array": (lambda: export(nn.ReLU(), X), "argument input must be a Tensor, got ndarray"),
    "too many": (
        lambda: export(nn.ReLU(), (tensor(X),) * 2),
        r"do not go with the model's forward",
    ),
    "a name too many": (
        lambda: export(nn.ReLU(), tensor(X), input_names=["a", "b"]),
        r"input_names must be 1 names, got \['a', 'b'\]",
    ),
    "one name twice": (
        lambda: export(Branches(), tensor(images(1, 2, 9, 9)), output_names=["a", "a"]),
        "output_names must be different names",
    ),
    "a weight's name": (
        lambda: export(nn.Linear(3, 2), tensor(X), input_names=["weight"]),
        "'weight' is the name of another tensor of the model; give input_names",
    ),
    "an old opset": (
        lambda: export(nn.ReLU(), tensor(X), opset_version=17),
        "opset_version must be from 18 to",
    ),
    "an axis": (
        lambda: export(nn.ReLU(), tensor(X), dynamic_axes={"input": {1: "n"}}),
        "dynamic_axes of 'input': only axis 0, the batch, may vary, not 1",
    ),
    "an unknown input": (
        lambda: export(nn.ReLU(), tensor(X), dynamic_axes={"x": [0]}),
        "dynamic_axes: there is no input or output 'x'",
    ),
    "an unknown argument": (
        lambda: export(nn.ReLU(), tensor(X), dynamic_shapes={"x": {0: "n"}}),
        r"forward\(\) takes no 'x'",
    ),
    "both": (
        lambda: export(nn.ReLU(), tensor(X), dynamic_axes={}, dynamic_shapes={}),
        "dynamic_axes and dynamic_shapes say the same",
    ),
    "no rows": (lambda: export(nn.ReLU(), tensor(X[:0])), "the example of 'input' has no rows"),
    "verify": (lambda: export(nn.ReLU(), tensor(X), verify=True), "verify=True is not supported"),
    "a mistake": (lambda: export(nn.ReLU(), tensor(X), verfy=True), "keyword argument 'verfy'"),
}


@pytest.mark.cpu
@pytest.mark.parametrize("name", ARGUMENTS)
def test_arguments_that_can_not_be_are_refused_by_name(name):
    call, message = ARGUMENTS[name]
    with pytest.raises((ArgumentError, TypeError, NotImplementedError), match=message) as error:
        call()
    assert "\n" not in str(error.value)


def test_weights_that_are_too_large_for_a_file_are_refused(monkeypatch):
    monkeypatch.setattr(graph, "MOST", 3 * 2 * 4)  # which has no place for the bias
    with pytest.raises(ArgumentError, match="weights of 2 GiB or more do not go into one ONNX"):
        export(nn.Linear(3, 2), tensor(X))


def test_every_argument_of_pytorchs_is_taken_or_known():
    ours = set(inspect.signature(export).parameters) - {"others"}
    theirs = inspect.signature(torch.onnx.export).parameters
    assert ours | set(WITHOUT_MEANING) == set(theirs)
    for name in WITHOUT_MEANING.keys() - {"training", "operator_export_type"}:  # PyTorch's enums
        assert theirs[name].default in WITHOUT_MEANING[name]


def test_without_the_package_onnx_the_line_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(
        ModuleNotFoundError, match=r"onnx is not installed: .*pip install .*\[onnx\]"
    ):
        export(nn.ReLU(), tensor(X))


# --- the file ------------------------------------------------------------------------------------


@pytest.mark.cpu
def test_the_file_holds_what_is_returned(tmp_path):
    stream = io.BytesIO()
    proto = export(nn.Linear(3, 2), tensor(X), tmp_path / "model.onnx")
    export(nn.Linear(3, 2), tensor(X), stream)
    assert onnx.load(tmp_path / "model.onnx") == proto
    assert onnx.load_from_string(stream.getvalue()).graph.node == proto.graph.node


@pytest.mark.cpu
def test_nothing_is_written_where_something_is_refused(tmp_path):
    with pytest.raises(ArgumentError):
        export(nn.Dropout(), tensor(X), tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


def test_the_values_of_weights_may_be_left_out_or_replaced():
    model = nn.Linear(3, 2)
    weights = [array(p) for p in model.parameters()]
    names = ["input", "weight", "bias"]
    without = export(model, tensor(X), export_params=False)
    assert [i.name for i in without.graph.input] == names and not without.graph.initializer
    np.testing.assert_allclose(run(without, X, *weights), array(model(tensor(X))), rtol=1e-5)
    both = export(model, tensor(X), keep_initializers_as_inputs=True)
    assert [i.name for i in both.graph.input] == names and len(both.graph.initializer) == 2


@pytest.mark.parametrize("opset", range(18, onnx.defs.onnx_opset_version() + 1))
def test_every_opset_from_18_on_passes_the_checker(opset):
    proto = export(Branches(), tensor(images(1, 2, 9, 9)), opset_version=opset)
    assert proto.opset_import[0].version == opset
    onnx.checker.check_model(proto, full_check=True)
