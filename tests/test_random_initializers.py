"""Random numbers are functions of their key, and initializers have the stated distributions."""

from __future__ import annotations

import inspect
import json
import math

import keras_peer
import numpy as np
import pytest

from fusedmlp import config, initializers, random, registry, utils

MASK = 2**64 - 1


def philox_4x64(counter, key):
    """Ten rounds after Salmon et al. (2011), Parallel random numbers: as easy as 1, 2, 3."""
    x, k = list(counter), list(key)
    for round_number in range(10):
        if round_number:
            k = [(k[0] + 0x9E3779B97F4A7C15) & MASK, (k[1] + 0xBB67AE8584CAA73B) & MASK]
        first, second = x[0] * 0xD2E7470EE14C6C93, x[2] * 0xCA5A826395121157
        x = [second >> 64 ^ x[1] ^ k[0], second & MASK, first >> 64 ^ x[3] ^ k[1], first & MASK]
    return x


def reference_uniform(count, key):
    """The first numbers of a key on [0, 1): the top 53 bits of each word, blocks from 1."""
    words = [w for block in range(1, count // 4 + 2) for w in philox_4x64((block, 0, 0, 0), key)]
    return np.array([(word >> 11) * 2.0**-53 for word in words[:count]])


def normal_cdf(z):
    return 0.5 * (1 + math.erf(z / math.sqrt(2)))


@pytest.fixture(autouse=True)
def seeded():
    random.set_global_seed(20)


# -- random ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [0, 1, 1337, 2**40 + 3, -1])
def test_uniform_is_philox_of_the_seed(seed):
    drawn = random.uniform((3, 3), dtype="float64", seed=seed)
    np.testing.assert_array_equal(drawn.reshape(-1), reference_uniform(9, (seed & MASK, 0)))


def test_generator_counts_its_draws():
    source = random.SeedGenerator(5)
    for position in range(3):
        drawn = random.uniform((4,), dtype="float64", seed=source)
        np.testing.assert_array_equal(drawn, reference_uniform(4, (5, position)))
    assert source.state.tolist() == [5, 3]


def test_generator_hands_out_copies():
    source = random.SeedGenerator(5)
    key = source.next()
    key[:] = 0
    assert source.state.tolist() == [5, 1]
    again = random.SeedGenerator.from_config(source.get_config())
    assert again.state.tolist() == [5, 0]


def test_without_seed_draws_differ_and_follow_the_global_seed():
    first, second = random.normal((5,)), random.normal((5,))
    assert not np.array_equal(first, second)
    random.set_global_seed(20)
    np.testing.assert_array_equal(random.normal((5,)), first)
    np.testing.assert_array_equal(random.normal((5,)), second)


def test_set_random_seed_seeds_all_sources():
    import random as python_random

    def draw():
        return (python_random.random(), np.random.rand(), random.next_seed(),  # noqa: NPY002
                initializers.GlorotUniform()((2, 2)).tolist())

    utils.set_random_seed(3)
    first = draw()
    assert draw() != first
    utils.set_random_seed(3)
    assert draw() == first
    utils.set_random_seed(4)
    assert draw()[2:] != first[2:]


def test_derived_seeds_keep_their_words_apart():
    words = [(0,), (0, 0), (1, 0), (0, 1), (2**32,), (1,), (1, 2**32), (2**32, 1), (2**32 + 1, 0)]
    seeds = [random.derive_seed(*w) for w in words]
    assert len(set(seeds)) == len(words)
    assert all(0 <= seed < 2**63 for seed in seeds)


@pytest.mark.parametrize("count", [0, 1, 2, 1000])
def test_permutation_is_one_and_depends_on_seed_and_epoch(count):
    order = random.permutation(count, seed=3, epoch=7)
    assert order.dtype == np.int64
    np.testing.assert_array_equal(np.sort(order), np.arange(count))
    np.testing.assert_array_equal(order, random.permutation(count, seed=3, epoch=7))
    if count > 2:
        assert not np.array_equal(order, random.permutation(count, seed=3, epoch=8))
        assert not np.array_equal(order, random.permutation(count, seed=4, epoch=7))


def test_permutations_are_uniform():
    orders = np.stack([random.permutation(4, seed=1, epoch=e) for e in range(4800)])
    _, counts = np.unique(orders, axis=0, return_counts=True)
    assert counts.size == 24
    assert ((counts - 200.0) ** 2 / 200.0).sum() < 60  # chi-squared, 23 degrees of freedom


@pytest.mark.parametrize(
    ("draw", "cdf"),
    [
        (lambda: random.normal((200_000,), 1.0, 2.0, "float64", seed=1),
         lambda x: normal_cdf((x - 1) / 2)),
        (lambda: random.uniform((200_000,), -1.0, 3.0, "float64", seed=2),
         lambda x: min(max((x + 1) / 4, 0), 1)),
        (lambda: random.truncated_normal((200_000,), 1.0, 2.0, "float64", seed=3),
         lambda x: min(max((normal_cdf((x - 1) / 2) - normal_cdf(-2))
                           / (normal_cdf(2) - normal_cdf(-2)), 0), 1)),
    ],
    ids=["normal", "uniform", "truncated_normal"],
)
def test_distribution(draw, cdf):
    drawn = np.sort(draw())
    expected = np.array([cdf(x) for x in drawn[::20]])
    found = (np.arange(drawn.size) + 0.5)[::20] / drawn.size
    # Kolmogorov and Smirnov: exceeded once in 100,000 seeds
    assert abs(expected - found).max() < 2.5 / math.sqrt(drawn.size)


def test_truncated_normal_keeps_its_bounds_and_its_inner_draws():
    cut = random.truncated_normal((10_000,), dtype="float64", seed=4)
    plain = random.normal((10_000,), dtype="float64", seed=4)
    inside = abs(plain) <= 2
    assert abs(cut).max() <= 2
    np.testing.assert_array_equal(cut[inside], plain[inside])
    assert not np.isin(cut[~inside], plain).any()


@pytest.mark.parametrize("function", [random.normal, random.uniform, random.truncated_normal])
def test_float32_is_float64_rounded(function):
    wide = function((100,), dtype="float64", seed=1)
    narrow = function((100,), dtype="float32", seed=1)
    assert narrow.dtype == np.float32
    np.testing.assert_array_equal(narrow, wide.astype(np.float32))


def test_uniform_excludes_its_end():
    drawn = random.uniform((500_000,), 0.0, 1.0, "float16", seed=1)
    assert drawn.max() < 1
    assert drawn.min() >= 0


def test_scalar_shape_and_floatx():
    assert random.normal(()).shape == ()
    assert random.truncated_normal(()).shape == ()
    config.set_floatx("float64")
    try:
        assert random.normal((2,)).dtype == np.float64
    finally:
        config.set_floatx("float32")


def test_randint_and_shuffle():
    drawn = random.randint((6000,), -2, 4, seed=1)
    values, counts = np.unique(drawn, return_counts=True)
    assert values.tolist() == [-2, -1, 0, 1, 2, 3]
    assert drawn.dtype == np.int32
    assert abs(counts - 1000).max() < 150
    x = np.arange(12).reshape(3, 4)
    mixed = random.shuffle(x, axis=1, seed=2)
    np.testing.assert_array_equal(np.sort(mixed, axis=1), x)
    np.testing.assert_array_equal(mixed - mixed[0], x - x[0])
    assert not np.array_equal(mixed, x)


@pytest.mark.parametrize(
    ("call", "argument"),
    [
        (lambda: random.normal((2,), seed=1.5), "seed"),
        (lambda: random.normal((2,), seed="1"), "seed"),
        (lambda: random.normal((2,), seed=True), "seed"),
        (lambda: random.normal((-1,)), "shape"),
        (lambda: random.normal(3), "shape"),
        (lambda: random.normal((2,), dtype="int32"), "dtype"),
        (lambda: random.randint((2,), 0, 3, dtype="float32"), "dtype"),
        (lambda: random.randint((2,), 3, 3), "maxval"),
        (lambda: random.shuffle([1], axis=1), "axis"),
        (lambda: random.SeedGenerator("a"), "seed"),
        (lambda: utils.set_random_seed(1.0), "seed"),
        (lambda: utils.set_random_seed(-1), "seed"),
    ],
)
def test_wrong_arguments(call, argument):
    with pytest.raises(ValueError, match=rf"`{argument}`.*Received"):
        call()


# -- to_categorical --------------------------------------------------------------------------------


@pytest.mark.parametrize("x", [[0, 2, 1], [[1], [0]], [[0, 1], [2, 2]], [3.0, 0.0], 2])
@pytest.mark.parametrize("num_classes", [None, 5])
def test_to_categorical(x, num_classes):
    result = utils.to_categorical(x, num_classes)
    classes = np.asarray(x, dtype=int)
    if classes.ndim > 1 and classes.shape[-1] == 1:
        classes = classes[..., 0]
    width = num_classes or classes.max() + 1
    assert result.shape == (*classes.shape, width)
    for index in np.ndindex(*classes.shape):
        assert result[index].tolist() == [float(k == classes[index]) for k in range(width)]


@pytest.mark.parametrize("x", [[0, 2, 1], [[1], [0]], [[0, 1], [2, 2]]])
def test_to_categorical_like_keras(x):
    keras = keras_peer.load()
    theirs = keras.utils.to_categorical(np.array(x))
    np.testing.assert_array_equal(utils.to_categorical(x), theirs)
    assert utils.to_categorical(x).dtype == theirs.dtype


@pytest.mark.parametrize(("x", "n"), [([0, 3], 3), ([-1], None), ([0.5], None), (["a"], None)])
def test_to_categorical_refuses(x, n):
    with pytest.raises(ValueError, match=r"`x`.*Received"):
        utils.to_categorical(x, n)
    with pytest.raises(ValueError, match="`num_classes`"):
        utils.to_categorical([])


# -- initializers ----------------------------------------------------------------------------------

NAMED = {  # scale, mode, distribution
    "glorot_uniform": (1.0, "fan_avg", "uniform"),
    "glorot_normal": (1.0, "fan_avg", "truncated_normal"),
    "he_uniform": (2.0, "fan_in", "uniform"),
    "he_normal": (2.0, "fan_in", "truncated_normal"),
    "lecun_uniform": (1.0, "fan_in", "uniform"),
    "lecun_normal": (1.0, "fan_in", "truncated_normal"),
}
ALL = ["zeros", "ones", "constant", "identity", "random_normal", "random_uniform",
       "truncated_normal", "variance_scaling", "orthogonal", *NAMED]
DRAWING = [name for name in ALL if name not in ("zeros", "ones", "constant", "identity")]


@pytest.mark.parametrize("name", NAMED)
def test_named_scaling_has_its_variance_and_limits(name):
    scale, mode, distribution = NAMED[name]
    rows, columns = 400, 250
    fan = {"fan_in": rows, "fan_avg": (rows + columns) / 2}[mode]
    kernel = getattr(initializers, name)(seed=1)((rows, columns), "float64")
    variance = scale / fan
    assert abs(kernel.mean()) < 5 * math.sqrt(variance / kernel.size)
    assert abs(kernel.var() / variance - 1) < 0.02
    if distribution == "uniform":
        limit = math.sqrt(3 * variance)
    else:  # a normal cut at 2 sigma has variance 1 - 4 phi(2) / (2 Phi(2) - 1)
        phi = math.exp(-2) / math.sqrt(2 * math.pi)
        limit = 2 * math.sqrt(variance / (1 - 4 * phi / (normal_cdf(2) - normal_cdf(-2))))
    assert 0.99 * limit < abs(kernel).max() <= limit
    same = initializers.VarianceScaling(scale, mode, distribution, seed=1)
    np.testing.assert_array_equal(same((rows, columns), "float64"), kernel)


@pytest.mark.parametrize("mode", ["fan_in", "fan_out", "fan_avg"])
def test_untruncated_scaling(mode):
    fan = {"fan_in": 300, "fan_out": 500, "fan_avg": 400}[mode]
    kernel = initializers.VarianceScaling(3.0, mode, "untruncated_normal", seed=2)((300, 500))
    assert abs(kernel.var() * fan / 3.0 - 1) < 0.02
    assert abs(kernel).max() > 3 * kernel.std()


def test_fans():
    fans = initializers.compute_fans
    assert fans((7,)) == (7, 7)
    assert fans(()) == (1, 1)
    assert fans((3, 5)) == (3, 5)
    assert fans((2, 3, 4, 5)) == (24, 30)
    assert fans((3, 5), input_axes=[1], output_axes=[0]) == (5, 3)
    with pytest.raises(ValueError, match="together"):
        fans((3, 5), input_axes=[1])


def test_swapped_axes_change_the_fan():
    plain = initializers.HeUniform(seed=1)((200, 2), "float64")
    swapped = initializers.HeUniform(seed=1, input_axes=[1], output_axes=[0])((200, 2), "float64")
    np.testing.assert_allclose(swapped, plain * 10, rtol=1e-12)


def test_tiny_fans_count_as_one():
    kernel = initializers.LecunUniform(seed=1)((0, 3))
    assert kernel.shape == (0, 3)


def test_plain_values():
    assert initializers.Zeros()((2, 3)).tolist() == [[0] * 3] * 2
    assert initializers.Ones()((2,), "float64").dtype == np.float64
    assert initializers.Constant(-1.5)((2,)).tolist() == [-1.5, -1.5]
    np.testing.assert_array_equal(initializers.Identity(3)((2, 3)), 3 * np.eye(2, 3))
    normal = initializers.RandomNormal(2.0, 0.5, seed=1)((50_000,), "float64")
    assert abs(normal.mean() - 2) < 0.02
    assert abs(normal.std() - 0.5) < 0.01
    uniform = initializers.RandomUniform(1.0, 2.0, seed=1)((50_000,), "float64")
    assert abs(uniform.mean() - 1.5) < 0.01
    cut = initializers.TruncatedNormal(2.0, 0.5, seed=1)((50_000,), "float64")
    assert abs(cut - 2).max() <= 1
    assert abs(cut.std() / 0.5 - 0.8796) < 0.01


@pytest.mark.parametrize("shape", [(5, 5), (8, 3), (3, 8), (2, 3, 4)])
def test_orthogonal(shape):
    q = initializers.Orthogonal(gain=2.0, seed=3)(shape, "float64").reshape(-1, shape[-1])
    product = q.T @ q if q.shape[0] >= q.shape[1] else q @ q.T
    np.testing.assert_allclose(product, 4 * np.eye(len(product)), atol=1e-13)


def test_orthogonal_is_uniform_over_rotations():
    # Without the signs of R's diagonal the first entry would never be positive (LAPACK's choice).
    first = [initializers.Orthogonal(seed=s)((3, 3))[0, 0] for s in range(300)]
    assert 100 < sum(value > 0 for value in first) < 200
    determinants = [np.linalg.det(initializers.Orthogonal(seed=s)((3, 3))) for s in range(200)]
    assert 60 < sum(value > 0 for value in determinants) < 140


@pytest.mark.parametrize("name", DRAWING)
def test_seeds(name):
    cls = getattr(initializers, name)
    one = cls(seed=1)
    values = one((4, 4))
    np.testing.assert_array_equal(one((4, 4)), values)
    np.testing.assert_array_equal(cls(seed=np.int64(1))((4, 4)), values)
    assert not np.array_equal(cls(seed=2)((4, 4)), values)
    free, other = cls(), cls()
    np.testing.assert_array_equal(free((4, 4)), free((4, 4)))
    assert not np.array_equal(free((4, 4)), other((4, 4)))
    moving = cls(seed=random.SeedGenerator(1))
    np.testing.assert_array_equal(moving((4, 4)), values)
    assert not np.array_equal(moving((4, 4)), values)


@pytest.mark.parametrize("name", ALL)
def test_config_and_names(name):
    initializer = initializers.get(name)
    assert type(initializer) is getattr(initializers, name)
    assert type(initializers.get(type(initializer).__name__)) is type(initializer)
    assert type(initializers.get(type(initializer))) is type(initializer)
    assert initializers.get(initializer) is initializer
    if name in DRAWING:
        initializer = getattr(initializers, name)(seed=11)
    described = json.loads(json.dumps(initializers.serialize(initializer)))
    again = initializers.deserialize(described)
    assert type(again) is type(initializer)
    assert again.get_config() == initializer.get_config() == initializer.clone().get_config()
    np.testing.assert_array_equal(again((4, 4)), initializer((4, 4)))
    assert type(initializer).__name__ in repr(initializer)


def test_config_of_a_seed_generator():
    initializer = initializers.HeNormal(seed=random.SeedGenerator(9))
    again = initializers.deserialize(json.loads(json.dumps(initializers.serialize(initializer))))
    np.testing.assert_array_equal(again((3, 3)), initializer((3, 3)))


def test_arrays_and_callables():
    values = np.arange(6.0).reshape(2, 3)
    initializer = initializers.get(values)
    values[:] = 0
    assert initializer((2, 3)).tolist() == [[0, 1, 2], [3, 4, 5]]
    again = initializers.deserialize(initializers.serialize(initializer))
    assert again((2, 3), "float64").tolist() == [[0, 1, 2], [3, 4, 5]]
    with pytest.raises(ValueError, match=r"\(2, 3\).*Received"):
        initializer((3, 2))

    def halves(shape, dtype=None):
        return np.full(shape, 0.5, dtype)

    assert initializers.get(halves) is halves
    with pytest.raises(ValueError, match="register"):
        initializers.serialize(lambda shape, dtype=None: np.full(shape, 0.5, dtype))
    assert initializers.serialize(halves) == "halves"
    with registry.custom_object_scope({"halves": halves}):
        assert initializers.serialize(halves) == "halves"
        assert initializers.get("halves") is halves


def test_own_class():
    @registry.register_keras_serializable(package="tests")
    class Third(initializers.Initializer):
        def __call__(self, shape, dtype=None):
            return np.full(shape, 1 / 3, dtype)

    try:
        described = initializers.serialize(Third())
        assert described == {"class_name": "tests>Third", "config": {}}
        assert type(initializers.deserialize(described)) is Third
        assert type(initializers.get("Third")) is Third
    finally:
        registry.get_custom_objects().pop("tests>Third")
        registry.get_custom_objects().pop("Third")
    with pytest.raises(ValueError, match="Unknown initializer"):
        initializers.deserialize(described)


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: initializers.get("glorot_unifrom"), ValueError, "nearest: 'glorot_uniform'"),
        (lambda: initializers.get(3), TypeError, "Received: 3"),
        (lambda: initializers.get({"config": {}}), ValueError, "class_name"),
        (lambda: initializers.Constant("a"), TypeError, "`value`"),
        (lambda: initializers.Constant(math.nan), ValueError, "`value`"),
        (lambda: initializers.RandomNormal(stddev=math.inf), ValueError, "`stddev`"),
        (lambda: initializers.RandomUniform(minval=None), TypeError, "`minval`"),
        (lambda: initializers.VarianceScaling(0.0), ValueError, "`scale`"),
        (lambda: initializers.VarianceScaling(mode="fan_on"), ValueError, "nearest: 'fan_in'"),
        (lambda: initializers.VarianceScaling(distribution="gauss"), ValueError, "`distribution`"),
        (lambda: initializers.GlorotUniform(seed="a"), ValueError, "`seed`"),
        (lambda: initializers.GlorotUniform(seed=1.0), ValueError, "`seed`"),
        (lambda: initializers.Orthogonal()((3,)), ValueError, "two dimensions"),
        (lambda: initializers.Identity()((3,)), ValueError, "two dimensions"),
        (lambda: initializers.Initializer()((3,)), NotImplementedError, "__call__"),
        (lambda: initializers.serialize(3), TypeError, "Received: 3"),
    ],
)
def test_refused(call, error, text):
    with pytest.raises(error, match=text):
        call()


@pytest.mark.parametrize("name", ALL)
def test_signature_and_config_like_keras(name):
    keras = keras_peer.load()
    ours, theirs = getattr(initializers, name), getattr(keras.initializers, name)
    assert ours.__name__ == theirs.__name__

    def arguments(cls):
        if cls.__init__ is object.__init__ or "__init__" not in vars(cls):
            cls = next(c for c in cls.__mro__ if "__init__" in vars(c))
        return {p.name: p.default for p in inspect.signature(cls.__init__).parameters.values()
                if p.name not in ("self", "args", "kwargs")}

    assert arguments(ours) == arguments(theirs)
    mine, reference = ours().get_config(), theirs().get_config()
    if name == "identity":  # Keras's leaves the gain out
        reference["gain"] = 1.0
    assert mine == {key: reference[key] for key in mine}
    assert set(mine) == set(reference)


@pytest.mark.parametrize("name", [*NAMED, "random_normal", "random_uniform", "truncated_normal",
                                  "variance_scaling"])
def test_distribution_like_keras(name):
    keras = keras_peer.load()
    shape = (300, 200)
    ours = getattr(initializers, name)(seed=1)(shape)
    theirs = np.asarray(getattr(keras.initializers, name)(seed=1)(shape))
    assert ours.dtype == theirs.dtype
    assert abs(ours.std() / theirs.std() - 1) < 0.02
    levels = np.linspace(0.01, 0.99, 25)
    spread = theirs.std()
    assert abs(np.quantile(ours, levels) - np.quantile(theirs, levels)).max() < 0.04 * spread


# -- further distributions -------------------------------------------------------------------------


def test_categorical_has_the_probabilities_of_softmax():
    logits = np.log([[0.2, 0.3, 0.5], [0.7, 0.2, 0.1]])
    drawn = random.categorical(logits, 20000, seed=1)
    assert drawn.shape == (2, 20000)
    assert drawn.dtype == np.int32
    shares = [np.bincount(row, minlength=3) / 20000 for row in drawn]
    np.testing.assert_allclose(shares, np.exp(logits), atol=0.015)


@pytest.mark.parametrize(("draw", "mean", "variance"), [
    (lambda: random.gamma((40000,), 3.0, dtype="float64", seed=1), 3.0, 3.0),
    (lambda: random.beta((40000,), 2.0, 3.0, dtype="float64", seed=1), 0.4, 0.04),
    (lambda: random.binomial((40000,), 10, 0.3, dtype="float64", seed=1), 3.0, 2.1),
    (lambda: random.dropout(np.ones(40000), 0.25, seed=1), 1.0, 1 / 3),
])
def test_moments(draw, mean, variance):
    x = draw()
    assert x.mean() == pytest.approx(mean, abs=5 * np.sqrt(variance / 40000))
    assert x.var() == pytest.approx(variance, rel=0.05)
    assert np.array_equal(x, draw())


def test_dropout_of_whole_rows():
    kept = random.dropout(np.ones((50, 4), "float32"), 0.5, noise_shape=(None, 1), seed=2)
    assert set(kept.sum(axis=1).tolist()) == {0.0, 8.0}


@pytest.mark.parametrize(("call", "message"), [
    (lambda: random.categorical([1.0], 2), "logits"),
    (lambda: random.categorical([[1.0]], 2, dtype="float32"), "dtype"),
    (lambda: random.gamma((2,), -1.0), "alpha"),
    (lambda: random.binomial((2,), 3, 1.5), "binomial"),
    (lambda: random.beta((2,), 0.0, 1.0), "beta"),
    (lambda: random.dropout([1.0], 1.0), "rate"),
    (lambda: random.gamma((2,), [1.0, 2.0, 3.0]), "gamma"),
])
def test_further_distributions_refuse(call, message):
    with pytest.raises(ValueError, match=message):
        call()
