"""The quick doors of a backend: the bits of the checked way, and None where checks are needed.

A backend without them passes the tests of `fusedmlp.ops` all the same.
"""

from __future__ import annotations

import inspect

import numpy as np
import pytest

import fusedmlp as fm
from fusedmlp import ops, spec
from fusedmlp.kernels import KERNELS, QUICK

DTYPES = ("float32", "float64")
# In bytes: below and above a block, where threads begin, and where outputs go past the caches.
SIZES = (0, 8, 40, 8000, 1_000_008, 26_000_024)
ADAM = (3, 1e-3, 0.9, 0.999, 1e-7, 0.01)


def quick(backend, name):
    door = getattr(backend, name)
    if door.__name__ != name:
        pytest.skip(f"backend {backend.name!r} has no door of that name")
    return door


@pytest.fixture
def without_doors(monkeypatch, backend):
    """Lets `fusedmlp.ops` go its own way."""
    def close():
        for names in QUICK.values():
            for name in names:
                monkeypatch.setattr(backend, name, lambda *arguments: None)
    return close


def draw(shape, dtype, seed=0):
    return np.random.default_rng(seed).uniform(-3, 3, shape).astype(dtype)


def test_every_backend_has_every_name(backend):
    for names in QUICK.values():
        for name, arguments in names.items():
            door = getattr(backend, name)
            if door.__name__ == name:
                assert tuple(inspect.signature(door).parameters) == arguments
            else:
                assert door(*arguments) is None


def test_doors_belong_to_modules_of_the_contract():
    assert set(QUICK) <= set(KERNELS)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["relu", "gelu", "exp", "elu", "leaky_relu", "linear"])
@pytest.mark.parametrize("size", SIZES)
def test_activation_has_the_bits_of_the_checked_way(backend, without_doors, name, size, dtype):
    if size > 8000:
        quick(backend, "quick_activation")  # what begins at these sizes, no other backend has
    size //= np.dtype(dtype).itemsize
    x = draw(size + 1, dtype)[1:]  # no multiple of a line
    out = np.full(size + 3, np.nan, dtype)[3:]
    y, same = ops.activation(x, name), ops.activation(x, name, out=out)
    in_place = x.copy()
    assert same is out
    assert ops.activation(in_place, name, out=in_place) is in_place
    without_doors()
    expected = ops.activation(x, name)
    for found in (y, out, in_place):
        np.testing.assert_array_equal(found, expected)
    # The elements one piece at a time are what another way through the loops would give.
    for start in (0, size // 2, max(size - 70, 0)):
        piece = x[start:start + 70]
        np.testing.assert_array_equal(ops.activation(piece.copy(), name), y[start:start + 70])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["relu", "gelu", "tanh", "softsign"])
def test_gradient_has_the_bits_of_the_checked_way(without_doors, name, dtype):
    x, dy = draw((300, 70), dtype), draw((300, 70), dtype, 1)
    saved = {spec.activation(name).reads: x}
    dx, out = ops.activation_grad(dy, name, **saved), np.empty_like(x)
    in_place = dy.copy()
    ops.activation_grad(dy, name, out=out, **saved)
    ops.activation_grad(in_place, name, out=in_place, **saved)
    without_doors()
    for found in (dx, out, in_place):
        np.testing.assert_array_equal(found, ops.activation_grad(dy, name, **saved))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("shape", [(1, 1), (7, 3), (256, 10), (700, 33), (3, 5000)])
def test_cross_entropy_has_the_bits_of_the_checked_way(without_doors, shape, reduction, dtype):
    logits, labels = draw(shape, dtype), np.arange(shape[0]) % shape[1]
    loss, gradient = ops.softmax_cross_entropy(logits, labels, reduction=reduction)
    out = np.empty_like(logits)
    again, same = ops.softmax_cross_entropy(logits, labels, reduction=reduction, out=out)
    without_doors()
    expected, dlogits = ops.softmax_cross_entropy(logits, labels, reduction=reduction)
    assert type(loss) is float
    assert loss == again == pytest.approx(expected, rel=1e-14)
    assert same is out
    np.testing.assert_array_equal(gradient, dlogits)
    np.testing.assert_array_equal(out, dlogits)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(0,), (3,), (40, 33)])
def test_adam_has_the_bits_of_the_checked_way(without_doors, shape, dtype):
    arrays = [abs(draw(shape, dtype, seed)) for seed in range(4)]
    copies = [array.copy() for array in arrays]
    keys = ("beta_1", "beta_2", "epsilon", "weight_decay")
    ops.adam_update(*arrays, *ADAM[:2], **dict(zip(keys, ADAM[2:], strict=True)))
    without_doors()
    ops.adam_update(*copies, *ADAM[:2], **dict(zip(keys, ADAM[2:], strict=True)))
    for found, expected in zip(arrays, copies, strict=True):
        np.testing.assert_array_equal(found, expected)


def unusual(dtype="float32"):
    """Arrays that no kernel takes as they are, of shape (4, 4)."""
    plain = np.ones((4, 4), dtype)
    raw = np.zeros(16 * plain.itemsize + 1, np.uint8)
    return {
        "list": plain.tolist(),
        "transposed": plain.T[:, ::-1],
        "strided": np.ones((4, 8), dtype)[:, ::2],
        "misaligned": raw[1:].view(dtype).reshape(4, 4),
        "swapped": plain.astype(np.dtype(dtype).newbyteorder()),
        "subclass": plain.view(type("Sub", (np.ndarray,), {})),
        "half": plain.astype("float16"),
        "integers": plain.astype("int64"),
        "none": None,
    }


@pytest.mark.parametrize("kind", unusual())
def test_what_needs_checks_is_left_to_them(backend, kind):
    odd, plain = unusual()[kind], np.ones((4, 4), np.float32)
    labels = np.zeros(4, np.int64)
    assert quick(backend, "quick_activation")(odd, "relu", None) is None
    assert quick(backend, "quick_activation_grad")(odd, "relu", None, plain, None) is None
    assert quick(backend, "quick_activation_grad")(plain, "relu", None, odd, None) is None
    assert quick(backend, "quick_softmax_cross_entropy")(odd, labels, "mean", None) is None
    assert quick(backend, "quick_softmax_cross_entropy")(plain, odd, "mean", None) is None
    if kind != "none":
        assert quick(backend, "quick_activation")(plain, "relu", odd) is None
        assert quick(backend, "quick_softmax_cross_entropy")(plain, labels, "mean", odd) is None
    for place in range(4):
        arrays = [plain.copy() for _ in range(4)]
        arrays[place] = odd
        assert quick(backend, "quick_adam_update")(*arrays, *ADAM) is None
    np.testing.assert_array_equal(plain, np.ones((4, 4)))


def test_overlap_and_read_only_outputs_are_left_to_the_checks(backend):
    base = np.ones(40, np.float32)
    x, shifted, fixed = base[:32], base[4:36], np.ones(32, np.float32)
    fixed.flags.writeable = False
    activation = quick(backend, "quick_activation")
    assert activation(x, "relu", shifted) is None
    assert activation(x, "relu", fixed) is None
    assert activation(fixed, "relu", None) is not None
    assert quick(backend, "quick_activation_grad")(x, "relu", None, fixed, shifted) is None
    update = quick(backend, "quick_adam_update")
    others = [np.ones(32, np.float32) for _ in range(3)]
    assert update(x, shifted, *others[:2], *ADAM) is None
    assert update(fixed, *others, *ADAM) is None
    assert update(others[0], others[1], others[0], others[2], *ADAM) is None
    np.testing.assert_array_equal(base, np.ones(40))


@pytest.mark.parametrize(("place", "value"), [
    (0, 0), (0, 1.0), (0, True), (1, -1.0), (1, float("nan")), (1, float("inf")), (1, 1),
    (2, 1.0), (3, -0.1), (4, -1e-9), (5, float("inf")), (5, "0"),
])
def test_numbers_out_of_range_are_left_to_the_checks(backend, place, value):
    numbers = list(ADAM)
    numbers[place] = value
    arrays = [np.ones(3, np.float32) for _ in range(4)]
    assert quick(backend, "quick_adam_update")(*arrays, *numbers) is None
    for array in arrays:
        np.testing.assert_array_equal(array, np.ones(3))


@pytest.mark.parametrize("name", ["softmax", "prelu", "rleu", None, ["relu"], 3])
def test_names_that_are_no_elementwise_function(backend, name):
    assert quick(backend, "quick_activation")(np.ones(3, np.float32), name, None) is None


@pytest.mark.parametrize("labels", [[0, 3], [-1, 0], [0, 2**40]])
def test_labels_out_of_range_are_left_to_the_checks(backend, labels):
    logits, out = np.ones((2, 3), np.float32), np.full((2, 3), 7, np.float32)
    door = quick(backend, "quick_softmax_cross_entropy")
    assert door(logits, np.array(labels), "mean", out) is None
    assert door(logits, np.zeros(2, np.int64), "none", out) is None
    assert door(logits, np.zeros(2, np.int64), ["mean"], out) is None
    assert door(logits[:0], np.zeros(0, np.int64), "sum", None) is None
    np.testing.assert_array_equal(out, np.full((2, 3), 7))


@pytest.mark.parametrize("count", [0, 1, 2, 3, 31, 32, 33, 1000, 70_001])
@pytest.mark.parametrize(("seed", "epoch"), [(0, 0), (1, 5), (2**63 + 11, 2**40), (-3, 7)])
def test_orders_of_epochs_are_those_of_numpy(without_doors, backend, count, seed, epoch):
    """Every backend visits the samples in the same order."""
    found = fm.random.permutation(count, seed, epoch)
    without_doors()
    expected = fm.random.permutation(count, seed, epoch)
    assert found.dtype == expected.dtype == np.int64
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("count", [0, 1, 2, 33, 1000, 70_001])
@pytest.mark.parametrize("generator", [np.random.MT19937, np.random.PCG64])
def test_shuffles_of_a_random_state_are_those_of_numpy(backend, count, generator):
    """Also what is drawn behind them is the same."""
    mine, theirs = (np.random.RandomState(generator(5)) for _ in range(2))
    for _ in range(2):
        found, expected = fm.random.legacy_permutation(count, mine), np.arange(count)
        theirs.shuffle(expected)
        assert found.dtype == np.int64
        np.testing.assert_array_equal(found, expected)
    assert mine.random_sample() == theirs.random_sample()
