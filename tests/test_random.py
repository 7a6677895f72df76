# SPDX-License-Identifier: BSD-3-Clause
"""The generator, brazen's and the reference's: known answers, golden vectors, offsets, distributions; and that they agree."""

import math

import brazen as bz
import layouts
import numpy as np
import pytest
import random_vectors
from brazen import reference
from brazen._noise import CALLER
from random_vectors import VECTORS
from scipy import stats
from tolerance import DTYPES, same_bits, tolerance

UNLIKELY = 1e-4  # the p-value below which a fixed draw is called not random
NORMAL_ULPS = 4  # of a normal number: its logarithm, root, sine and product


@pytest.fixture(params=[bz, reference], ids=["brazen", "reference"])
def module(request):
    """What holds dropout and random."""
    return request.param


@pytest.fixture
def random(module):
    return module.random


each_vector = pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: str(vector.place))


def packed(mask):
    return np.packbits(mask, bitorder="little").tobytes().hex()


@pytest.mark.parametrize("counter, key, words", random_vectors.KNOWN_ANSWERS)
def test_known_answers(counter, key, words):
    block = np.array(counter[0] | counter[1] << 32, "uint64")
    drawn = reference.random.random_words(key[0] | key[1] << 32, counter[2], counter[3], block)
    assert drawn.dtype == np.uint32 and tuple(drawn.tolist()) == words == random_vectors.philox(counter, key)


@each_vector
def test_golden_vectors(vector, module, random):
    for keep, mask in vector.masks.items():
        assert packed(module.dropout.mask((64,), keep=keep, **vector.place)) == mask
    assert packed(random.bernoulli(64, 0.5, **vector.place)) == vector.bernoulli
    assert random.uniform(4, **vector.place).tobytes().hex() == vector.uniform
    assert random.uniform(2, dtype="float64", **vector.place).tobytes().hex() == vector.uniform_double
    for numbers, dtype in ((vector.normal, "float32"), (vector.normal_double, "float64")):
        drawn = random.normal(len(numbers), dtype=dtype, **vector.place)
        assert drawn.dtype == dtype
        # exp, log and cos are the platform's.
        assert (np.abs(drawn - np.array(numbers, dtype)) <= 8 * tolerance(dtype).unit).all()
    place = {name: value for name, value in vector.place.items() if name != "offset"}
    assert random.permutation(10, **place).tolist() == vector.permutation


@each_vector
def test_every_value_is_what_its_index_says(vector, module, random):
    """The rules of the generator, element by element in Python's integers."""
    integers = {bits: [random_vectors.draw(bits, i, **vector.place) for i in range(40)] for bits in (16, 32, 64)}
    assert reference.random.pieces((40,), **vector.place).tolist() == integers[16]
    assert random.uniform(40, **vector.place).tolist() == [(word >> 8) / 2**24 for word in integers[32]]
    doubles = random.uniform(40, dtype="float64", **vector.place)
    assert doubles.tolist() == [(word >> 11) / 2**53 for word in integers[64]]
    kept = [random_vectors.draw(16, i, 1, **vector.place) < round(0.7 * 65536) for i in range(40)]
    assert module.dropout.mask((40,), keep=0.7, **vector.place).tolist() == kept
    offset = vector.place.get("offset", 0)
    for i, number in enumerate(random.normal(40, dtype="float64", **vector.place)):
        even = i - (i + offset) % 2
        first, second = (random_vectors.draw(64, k, **vector.place) >> 11 for k in (even, even + 1))
        radius = math.sqrt(-2 * math.log(first / 2**53 + 2.0**-54))
        turn = 2 * math.pi * second / 2**53
        exact = radius * (math.sin(turn) if even < i else math.cos(turn))
        assert abs(number - exact) <= 16 * tolerance("float64").unit * max(1, radius)


@pytest.mark.parametrize("name", ["uniform", "normal", "bernoulli"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_offset_continues_the_whole(name, dtype, random):
    function, options = getattr(random, name), {} if name == "bernoulli" else {"dtype": DTYPES[dtype]}
    whole = function((5, 7), seed=3, step=1, site=4, offset=11, **options).reshape(-1)
    for cut in range(36):
        first = function(cut, seed=3, step=1, site=4, offset=11, **options)
        second = function(35 - cut, seed=3, step=1, site=4, offset=11 + cut, **options)
        assert np.array_equal(np.concatenate([first, second]), whole)


@pytest.mark.parametrize("dtype", DTYPES)
def test_dtypes_and_out(dtype, random):
    dtype = DTYPES[dtype]
    for function in (random.uniform, random.normal):
        drawn, out = function((3, 5), seed=2, dtype=dtype), np.empty((3, 5), dtype)
        assert drawn.dtype == dtype and drawn.shape == (3, 5)
        assert function(None, seed=2, out=out) is out and np.array_equal(out, drawn)
        if dtype.itemsize == 2:
            assert np.array_equal(drawn, function((3, 5), seed=2).astype(dtype)), "float32's, rounded once"
    assert random.uniform(0, seed=1, dtype=dtype).shape == (0,) and random.normal((), seed=1, dtype=dtype).shape == ()
    scaled = random.uniform(1000, -3, 5, seed=1, dtype=dtype)
    assert (scaled >= -3).all() and (scaled <= 5).all() and scaled.astype(float).std() > 2
    moved, plain = (random.normal(1000, *by, seed=1, dtype="float64") for by in ((7, 0.5), ()))
    assert np.abs(moved - (7 + plain / 2)).max() <= 16 * tolerance("float64").unit


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_distributions(dtype, random):
    places = {"seed": 9, "step": 4, "site": 2, "dtype": dtype}
    count = 200_000
    assert stats.kstest(random.uniform(count, **places), "uniform").pvalue > UNLIKELY
    drawn = random.normal(count, **places).astype("float64")
    assert stats.kstest(drawn, "norm").pvalue > UNLIKELY
    for moment, (mean, variance) in {1: (0, 1), 2: (1, 2), 3: (0, 15), 4: (3, 96)}.items():
        assert abs((drawn**moment).mean() - mean) < 5 * math.sqrt(variance / count)
    assert abs(np.corrcoef(drawn[0::2], drawn[1::2])[0, 1]) < 5 / math.sqrt(count / 2), "the two of a pair"


def independent(first, second):
    """The p-value of a chi-square test of a 2 by 2 table of two masks."""
    table = [[(first == a) @ (second == b).astype(int) for b in (False, True)] for a in (False, True)]
    return stats.chi2_contingency(np.array([[int(n) for n in row] for row in table])).pvalue


@pytest.mark.parametrize("probability", [0.1, 0.5, 0.8])
def test_bernoulli_is_fair_and_independent(probability, module, random):
    count = 1 << 18
    place = {"seed": 12, "step": 5, "site": 6}
    mask = random.bernoulli(count, probability, **place)
    exact = round(probability * 65536) / 65536
    assert abs(mask.mean() - exact) < 4 * math.sqrt(exact * (1 - exact) / count)
    others = [random.bernoulli(count, probability, **{**place, name: place[name] + 1}) for name in place]
    others += [module.dropout.mask((count,), keep=probability, **place)]
    assert all(independent(mask, other) > UNLIKELY for other in others)
    assert all(independent(mask[:-lag], mask[lag:]) > UNLIKELY for lag in (1, 2, 7, 8, 9, 64))
    counts = np.bincount(np.packbits(mask), minlength=256)
    ones = np.array([bin(byte).count("1") for byte in range(256)])
    expected = exact**ones * (1 - exact) ** (8 - ones) * mask.size / 8
    assert stats.chisquare(counts, expected).pvalue > UNLIKELY, "the eight of a block"


def test_bernoulli_at_its_ends(random):
    assert random.bernoulli(1000, 1, seed=0).all() and not random.bernoulli(1000, 0, seed=0).any()
    with pytest.raises(ValueError, match="probability is 1e-06, which rounds to 0"):
        random.bernoulli(10, 1e-6, seed=0)
    with pytest.raises(ValueError, match="probability is 1.5; expected 0 to 1"):
        random.bernoulli(10, 1.5, seed=0)


def test_permutation(random):
    drawn = random.permutation(1000, seed=5, step=1)
    assert drawn.dtype == np.int64 and (np.sort(drawn) == np.arange(1000)).all()
    keys = [random_vectors.draw(64, i, seed=5, step=1) for i in range(1000)]
    assert drawn.tolist() == sorted(range(1000), key=keys.__getitem__)
    assert (drawn != random.permutation(1000, seed=5, step=2)).mean() > 0.9
    first = [random.permutation(6, seed=1, step=step)[0] for step in range(6000)]
    assert stats.chisquare(np.bincount(first, minlength=6)).pvalue > UNLIKELY
    assert random.permutation(0, seed=1).shape == (0,)


def test_errors_name_what_is_out_of_range(random):
    cases = {
        "seed is 18446744073709551616; expected 0 to 2\\^64 - 1": {"seed": 1 << 64},
        "seed is -1": {"seed": -1},
        "step is 4294967296; expected 0 to 2\\^32 - 1": {"seed": 0, "step": 1 << 32},
        "site is 16777216; expected 0 to 2\\^24 - 1": {"seed": 0, "site": 1 << 24},
        "offset is -3; expected 0 to": {"seed": 0, "offset": -3},
    }
    for message, place in cases.items():
        with pytest.raises(ValueError, match=message):
            random.uniform(3, **place)
    with pytest.raises(TypeError, match="step is 1.5; expected an integer"):
        random.normal(3, seed=0, step=1.5)
    assert random.uniform(3, seed=np.uint64(2**64 - 1), step=np.int32(5)).shape == (3,)


# Brazen's own: the same bits wherever they are drawn, and the reference's numbers.

SIZES = [0, 1, 7, 8, 9, 1023, 1024, 1025, 100_003]


@pytest.mark.parametrize("count", SIZES)
@pytest.mark.parametrize("offset", [0, 3, 2**35 - 5])
def test_the_reference_s_numbers(count, offset, isa):
    place = {"seed": 11, "step": 7, "site": 5, "offset": offset}
    assert np.array_equal(bz.random.bernoulli(count, 0.3, **place), reference.random.bernoulli(count, 0.3, **place))
    for dtype in DTYPES.values():
        drawn = bz.random.uniform(count, dtype=dtype, **place)
        assert not same_bits(drawn, reference.random.uniform(count, dtype=dtype, **place))
        drawn = bz.random.normal(count, dtype=dtype, **place)
        if dtype.itemsize == 2:
            single = bz.random.normal(count, dtype="float32", **place)
            assert not same_bits(drawn, single.astype(dtype))
            continue
        wide = np.dtype(dtype if dtype == np.float32 else np.longdouble)
        truth = reference.random.standard_normal(np, (count,), wide, *place.values(), CALLER)
        error = np.abs(drawn.astype(truth.dtype) - truth)
        assert (error <= NORMAL_ULPS * tolerance(dtype).ulp(truth)).all()


def drawn_everywhere(**options):
    """All that is drawn, in arrays of some size."""
    place = {"seed": 5, "step": 1, "offset": 13, **options}
    made = [bz.random.bernoulli((257, 123), 0.4, **place), bz.random.permutation(5000, seed=5, step=1)]
    for dtype in DTYPES.values():
        made += [function((257, 123), dtype=dtype, **place) for function in (bz.random.uniform, bz.random.normal)]
    return made


def test_same_bits_on_every_instruction_set(isa):
    ours = drawn_everywhere()
    bz._core.set_isa("")
    assert all(np.array_equal(a, b) for a, b in zip(ours, drawn_everywhere()))


@pytest.mark.parametrize("threads", [1, 2, 3, 7])
def test_same_bits_for_every_number_of_threads(threads):
    usual = bz.random.normal(1 << 20, seed=1), bz.random.bernoulli(1 << 22, seed=1)
    bz.set_num_threads(threads)
    again = bz.random.normal(1 << 20, seed=1), bz.random.bernoulli(1 << 22, seed=1)
    assert all(np.array_equal(a, b) for a, b in zip(usual, again))


@pytest.mark.parametrize("layout", layouts.WRITABLE, ids=lambda layout: layout.__name__)
@pytest.mark.parametrize("shape", [(37,), (5, 4, 6), (33, 70), (0,), ()])
def test_same_numbers_in_every_layout(layout, shape):
    """Elements are numbered in C order of the shape, wherever they lie."""
    for dtype in DTYPES.values():
        for function in (bz.random.uniform, bz.random.normal):
            plain = function(shape, seed=3, offset=5, dtype=dtype)
            out = layout(np.empty(shape, dtype))
            assert function(None, seed=3, offset=5, out=out) is out
            assert not same_bits(out, plain)
    out = layout(np.zeros(shape, bool))
    bz.random.bernoulli(None, 0.5, seed=3, offset=5, out=out)
    assert np.array_equal(out, bz.random.bernoulli(shape, 0.5, seed=3, offset=5))


def test_outputs_that_cannot_be_written():
    frozen = np.empty(4, "float32")
    frozen.flags.writeable = False
    with pytest.raises(ValueError, match="out"):
        bz.random.uniform(None, seed=0, out=frozen)
    with pytest.raises(TypeError, match="dtype int32"):
        bz.random.normal(None, seed=0, out=np.empty(4, "int32"))
    with pytest.raises(TypeError, match="float32; expected bool or uint8"):
        bz.random.bernoulli(None, seed=0, out=np.empty(4, "float32"))
    with pytest.raises(TypeError, match=r"uniform: seed is missing; call uniform\(shape, seed=0, step=step\)"):
        bz.random.uniform(4, seed=None)


@pytest.mark.release
def test_more_than_2_to_the_31_elements():
    """2 GiB of bool; the last elements are those at their place in the whole."""
    psutil = pytest.importorskip("psutil")
    count = (1 << 31) + 1000
    if psutil.virtual_memory().available < 2 * count:
        pytest.skip("needs 4 GiB of free memory")
    drawn = bz.random.bernoulli(count, 0.25, seed=3)
    for start in (0, (1 << 31) - 500, count - 500):
        part = bz.random.bernoulli(500, 0.25, seed=3, offset=start)
        assert np.array_equal(drawn[start : start + 500], part)


@pytest.mark.parametrize("name", ["uniform", "normal", "bernoulli", "permutation"])
def test_arrays_of_pytorch(name):
    """like= and out= of tensors: NumPy's numbers in the library that was asked for."""
    torch = pytest.importorskip("torch")
    function, shape = getattr(bz.random, name), 12 if name == "permutation" else (3, 4)
    expected = function(shape, seed=5, step=2)
    drawn = function(shape, seed=5, step=2, like=torch.zeros(1))
    assert isinstance(drawn, torch.Tensor) and np.array_equal(drawn.numpy(), expected)
    assert drawn.numpy().dtype == expected.dtype
    out = torch.zeros_like(drawn)
    assert function(shape, seed=5, step=2, out=out) is out and np.array_equal(out.numpy(), expected)
    if name in ("uniform", "normal"):
        narrow = function(shape, seed=5, step=2, like=drawn, dtype="bfloat16")
        assert narrow.dtype == torch.bfloat16 and torch.equal(narrow, drawn.bfloat16())
        assert function(shape, seed=5, like=drawn, dtype=torch.float64).dtype == torch.float64


def test_masks_and_means_of_pytorch():
    torch = pytest.importorskip("torch")
    for bits in (False, True):
        mask = bz.dropout.mask((3, 7), 0.4, seed=1, bits=bits, like=torch.zeros(1))
        assert np.array_equal(mask.numpy(), bz.dropout.mask((3, 7), 0.4, seed=1, bits=bits))
    x = torch.ones(5)
    mean = bz.monte_carlo(lambda step: bz.dropout(x, 0.5, seed=0, step=step), 10)
    expected = bz.monte_carlo(lambda step: bz.dropout(x.numpy(), 0.5, seed=0, step=step), 10)
    assert mean.dtype == torch.float32 and np.array_equal(mean.numpy(), expected) and (x == 1).all()
    same = bz.monte_carlo(lambda step: x.double(), 3)
    assert same.dtype == torch.float64 and (same == 1).all()


def test_shapes_and_libraries_that_cannot_be():
    out = np.empty((3, 4), "f4")
    assert bz.random.uniform(out=out, seed=1) is out and np.array_equal(out, bz.random.uniform((3, 4), seed=1))
    with pytest.raises(ValueError, match=r"uniform: out has shape \(3, 4\); expected \(4, 3\), the shape asked for"):
        bz.random.uniform((4, 3), out=out, seed=1)
    with pytest.raises(TypeError, match="normal: shape is missing"):
        bz.random.normal(seed=1)
    with pytest.raises(TypeError, match="uniform: like is list; expected an array of NumPy, CuPy or PyTorch"):
        bz.random.uniform(3, seed=1, like=[1.0])
    with pytest.raises(ValueError, match=r"permutation: out has shape \(4,\); expected \(5,\)"):
        bz.random.permutation(5, seed=1, out=np.empty(4, "i8"))
