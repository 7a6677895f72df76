# SPDX-License-Identifier: BSD-3-Clause
"""Wrong arguments: TypeError or ValueError whose message names the argument and what would do, and nothing is written.

The public operations first, then the raw entry points of `_core`. It catches a missing check (a crash or a write past the
end), a silent conversion, and a message that helps nobody.
"""

import types

import brazen as bz
import ml_dtypes
import numpy as np
import op_table
import pytest
import samples
from brazen import _core
from tolerance import same_bits

COMPUTE = "expected one of float16, bfloat16, float32, float64"


def _arguments(case, dtype="float32", shape=(6, 4)):
    return [samples.ordinary(s, dtype, k) for k, s in enumerate(case.shapes(shape))]


def _replaced(case, argument, value):
    return [value if name == argument else array for name, array in zip(case.arguments, _arguments(case))]


def _expect(error, case, arrays, *words, **out):
    """Calls, expects `error` with all words in its message, and checks that no array was written."""
    watched = [a for a in [*arrays, *out.values()] if isinstance(a, np.ndarray) and a.dtype != object]
    before = [a.tobytes() for a in watched]
    with pytest.raises(error) as caught:
        case.call(*arrays, **out)
    message = str(caught.value)
    for word in (case.name.removeprefix("math."), *words):
        assert word in message, f"{word!r} is not in {message!r}"
    assert [a.tobytes() for a in watched] == before, "something was written"


each_case = pytest.mark.parametrize("case", op_table.CASES, ids=lambda case: case.id)

UNSUPPORTED = [
    "bool",
    "int8",
    "int16",
    "int32",
    "int64",
    "uint8",
    "uint32",
    "complex64",
    "complex128",
    "longdouble",
    "object",
    "S4",
    "U3",
    "datetime64[s]",
    "V4",
]


@each_case
@pytest.mark.parametrize("dtype", UNSUPPORTED)
def test_unsupported_dtypes(case, dtype):
    for argument, good in zip(case.arguments, _arguments(case)):
        # dy and alpha follow x: the message may name x's dtype as the one expected.
        fix = COMPUTE if argument == "x" else "expected"
        _expect(
            TypeError,
            case,
            _replaced(case, argument, np.zeros(good.shape, dtype)),
            f"{argument} has dtype {np.dtype(dtype)}",
            fix,
        )


@each_case
@pytest.mark.parametrize("dtype", [">f2", ">f4", ">f8"])
def test_byte_swapped(case, dtype):
    for argument, good in zip(case.arguments, _arguments(case)):
        _expect(
            TypeError,
            case,
            _replaced(case, argument, good.astype(dtype)),
            f"{argument} has big-endian dtype",
            f"{argument}.astype({argument}.dtype.newbyteorder('='))",
        )


@each_case
def test_what_is_no_array(case):
    things = [
        [1.0, 2.0],
        (1.0,),
        1.0,
        3,
        "text",
        b"bytes",
        {},
        types.SimpleNamespace(),
        memoryview(np.ones(3)),
        lambda: 0,
    ]
    for argument in case.arguments:
        for thing in things:
            _expect(
                TypeError,
                case,
                _replaced(case, argument, thing),
                f"{argument} is ",
                type(thing).__name__,
                "expected a NumPy or CuPy array",
                f"numpy.asarray({argument}",
            )
        _expect(TypeError, case, _replaced(case, argument, None), f"{argument} is NoneType")


@each_case
def test_numpy_scalars_are_refused(case):
    """They have no identity to write into and no axis; a 0-d array is meant."""
    for argument in case.arguments:
        _expect(
            TypeError, case, _replaced(case, argument, np.float32(1)), f"{argument} is numpy.float32", "numpy.asarray"
        )


@each_case
def test_masked_arrays(case):
    for argument, good in zip(case.arguments, _arguments(case)):
        _expect(
            TypeError,
            case,
            _replaced(case, argument, np.ma.masked_array(good, good > 0)),
            f"{argument} is a masked array",
            f"{argument}.filled(value)",
        )


@each_case
def test_other_subclasses_are_arrays(case):
    class Own(np.ndarray):
        pass

    arrays = _arguments(case)
    expected = case.results(*arrays)
    for wanted, result in zip(expected, case.results(*(a.view(Own) for a in arrays))):
        assert not same_bits(np.asarray(result), wanted)


@each_case
def test_dtypes_must_agree(case):
    for argument, good in zip(case.arguments, _arguments(case)):
        if argument == "x" or len(case.arguments) == 1:
            continue
        for other in ("float64", "float16", "bfloat16"):
            _expect(
                TypeError,
                case,
                _replaced(case, argument, good.astype(samples.DTYPES[other])),
                f"{argument} has dtype {other}",
                "expected float32",
                "x",
            )


@pytest.mark.parametrize("case", [c for c in op_table.CASES if c.direction == "backward"], ids=lambda case: case.id)
def test_shapes_must_agree(case):
    dy = _arguments(case)[0]
    for wrong in (dy[:-1], dy[:, :-1], dy[None], dy.ravel(), dy[0], np.float32(dy).T.copy(), dy[:0]):
        _expect(ValueError, case, _replaced(case, "dy", wrong), f"dy has shape {wrong.shape}", "expected (6, 4)")


def _wrong_outs(right):
    """(output, error, words) for an output that should have shape (6, …) and dtype float32."""
    frozen = right.copy()
    frozen.flags.writeable = False
    yield right[:-1].copy(), ValueError, [f"shape {right[:-1].shape}", f"expected {right.shape}"]
    yield right[None].copy(), ValueError, [f"shape {right[None].shape}"]
    yield right.T.copy(), ValueError, ["shape"]
    yield np.zeros(0, "float32"), ValueError, ["shape (0,)"]
    yield right.astype("float64"), TypeError, ["dtype float64", "expected float32"]
    yield right.astype("float16"), TypeError, ["dtype float16", "expected float32"]
    yield right.astype("int32"), TypeError, ["dtype int32"]
    yield right.astype(">f4"), TypeError, ["big-endian"]
    yield frozen, ValueError, ["read-only"]
    yield np.broadcast_to(right[:1], right.shape), ValueError, ["read-only"]
    shared = np.lib.stride_tricks.as_strided(right.copy(), right.shape, (0, 4))
    yield shared, ValueError, ["share memory", "copy"]
    folded = np.lib.stride_tricks.as_strided(np.zeros(64, "float32"), right.shape, (4, 4))
    yield folded, ValueError, ["share memory"]
    yield right.tolist(), TypeError, ["is list"]
    yield "out", TypeError, ["is str"]
    yield 0.0, TypeError, ["is float"]
    yield np.ma.masked_array(right.copy()), TypeError, ["masked"]


@each_case
def test_wrong_out(case):
    arrays = _arguments(case)
    right = case.results(*arrays)[0]
    for out, error, words in _wrong_outs(right):
        _expect(error, case, arrays, "out", *words, out=out)


@pytest.mark.parametrize("name", ["glu", "reglu", "geglu", "swiglu"])
def test_axes_of_gates(name):
    operation, x = getattr(bz, name), np.ones((4, 6, 3), "float32")
    for axis in (3, -4, 99):
        with pytest.raises(ValueError, match=f"{name}: axis is {axis}; x has 3 dimensions"):
            operation(x, axis=axis)
        with pytest.raises(ValueError, match=f"{name}: axis is {axis}; x has 3 dimensions"):
            operation.backward(x, x, axis=axis)
    for axis in (2, -1):
        with pytest.raises(ValueError, match=f"{name}: x has 3 entries along axis {axis}; expected an even number"):
            operation(x, axis=axis)
    with pytest.raises(ValueError, match=f"{name}: x has no axis to split; expected at least one dimension"):
        operation(np.ones((), "float32"))
    for axis in ("last", 1.5, None):
        with pytest.raises(TypeError, match="axis"):
            operation(x, axis=axis)


def test_pieces_of_maxout():
    x = np.ones((4, 6), "float32")
    for pieces in (0, -1, 33, 2**31, 2**40):
        with pytest.raises(ValueError, match=f"maxout: pieces is {pieces}; expected 1 to 32"):
            bz.maxout(x, pieces)
    with pytest.raises(ValueError, match="maxout: x has 6 entries along axis -1; expected a multiple of pieces = 4"):
        bz.maxout(x, 4)
    with pytest.raises(ValueError, match="maxout: axis is 2; x has 2 dimensions"):
        bz.maxout(x, 2, axis=2)
    with pytest.raises(ValueError, match="maxout: x has no axis to group"):
        bz.maxout(np.ones((), "float32"), 1)
    with pytest.raises(TypeError, match="pieces"):
        bz.maxout(x, 2.5)
    assert bz.maxout(np.arange(32, dtype="float32"), 32) == 31


def test_prelu_alpha_shapes():
    x = np.ones((4, 6, 3), "float32")
    for shape in ((4,), (3,), (6, 1), (1, 6), (0,), (2,)):
        with pytest.raises(
            ValueError, match=r"prelu: alpha has shape .*; expected one value, or \(6,\) for axis 1 of x"
        ):
            bz.prelu(x, np.ones(shape, "float32"))
    with pytest.raises(ValueError, match=r"expected one value, or \(3,\) for axis -1 of x"):
        bz.prelu(x, np.ones(6, "float32"), axis=-1)
    with pytest.raises(ValueError, match="prelu: axis is 3; x has 3 dimensions"):
        bz.prelu(x, np.ones(6, "float32"), axis=3)
    with pytest.raises(TypeError, match="axis"):
        bz.prelu(x, np.ones(6, "float32"), axis="channels")
    for alpha in (0.25, [0.25], None):
        with pytest.raises(TypeError, match="prelu: alpha is .*; expected a NumPy or CuPy array"):
            bz.prelu(x, alpha)
    with pytest.raises(TypeError, match="prelu: alpha has dtype float16; expected bfloat16 or float32"):
        bz.prelu(x.astype(ml_dtypes.bfloat16), np.ones(1, "float16"))


def test_prelu_wants_an_array_and_an_axis_of_x():
    x, one = np.ones((4, 6), "float32"), np.full(1, 0.25, "float32")
    for number in (0.25, 1, True):
        with pytest.raises(TypeError, match=r"prelu: alpha is (float|int|bool); .* call leaky_relu\(x, alpha\)"):
            bz.prelu(x, number)
        with pytest.raises(TypeError, match=r"call leaky_relu\(x, alpha\)"):
            bz.prelu.backward(x, x, number)
    for axis in (2, -3, 99):
        with pytest.raises(ValueError, match=f"prelu: axis is {axis}; x has 2 dimensions"):
            bz.prelu(x, one, axis=axis)
        with pytest.raises(ValueError, match=f"prelu: axis is {axis}; x has 2 dimensions"):
            bz.prelu.backward(x, x, one, axis=axis)
    scalar = np.full((), -1, "float32")
    assert bz.prelu(scalar, one) == -0.25
    with pytest.raises(ValueError, match="prelu: axis is 0; x has 0 dimensions"):
        bz.prelu(scalar, one, axis=0)


def test_prelu_dalpha():
    x, alpha = np.ones((4, 6), "float32"), np.ones(6, "float32")
    wrong = [
        (np.ones(5, "float32"), ValueError, "shape"),
        (np.ones((6, 1), "float32"), ValueError, "shape"),
        (np.ones(6, "float64"), TypeError, "dtype float64"),
        (np.ones(12, "float32")[::2], ValueError, "not contiguous"),
        (alpha, ValueError, "overlaps alpha"),
        (x[0], ValueError, "overlaps x"),
        ([0.0] * 6, TypeError, "is list"),
    ]
    for dalpha, error, words in wrong:
        before = np.array(dalpha)
        with pytest.raises(error, match=f"prelu: dalpha .*{words}"):
            bz.prelu.backward(np.zeros_like(x), x, alpha, dalpha=dalpha)
        assert (np.array(dalpha) == before).all()
    out = np.ones((1, 6), "float32")
    with pytest.raises(ValueError, match="dalpha overlaps out"):
        bz.prelu.backward(x[:1].copy(), x[:1].copy(), alpha, out=out, dalpha=out[0])
    dy, single = np.ones(1, "float32"), np.ones(1, "float32")
    for k in range(3):
        arrays = [dy, -single, single.copy()]
        with pytest.raises(ValueError, match=f"dalpha overlaps {('dy', 'x', 'alpha')[k]}"):
            bz.prelu.backward(*arrays, dalpha=arrays[k])


def test_more_dimensions_than_numpy_has():
    shape = (1,) * 62 + (2, 4)
    x = np.ones(shape, "float32") if np.lib.NumpyVersion(np.__version__) >= "2.0.0" else None
    if x is None:
        pytest.skip("NumPy before 2.0 has at most 32 dimensions")
    assert bz.relu(x).shape == shape and bz.glu(x).shape == (*shape[:-1], 2)
    with pytest.raises(ValueError, match="overlaps"):
        bz.relu(x.reshape(-1)[:-1], out=x.reshape(-1)[1:])


def test_raw_entry_points():
    """The private bindings check everything again; what they get here comes past the package's Python."""
    x = np.ones((4, 6), "float32")
    with pytest.raises(ValueError, match="unknown operation"):
        _core.gate_forward("nope", x, -1, None)
    with pytest.raises(ValueError, match="is no gate"):
        _core.gate_backward("relu", x, x, -1, None)
    with pytest.raises(ValueError, match="is no gate"):
        _core.gate_forward("maxout", x, -1, None)
    with pytest.raises(TypeError, match="glu: x is NoneType"):
        _core.gate_forward("glu", None, -1, None)
    for axis in (2**31, -(2**31) - 1, 2**70, None, "a"):
        with pytest.raises((TypeError, ValueError, OverflowError)):
            _core.gate_forward("glu", x, axis, None)
    with pytest.raises(ValueError, match="dy has shape"):
        _core.gate_backward("glu", x, x, -1, None)
    with pytest.raises(ValueError, match="dy has shape"):
        _core.maxout_backward(x, x, 2, -1, None)
    with pytest.raises(TypeError, match="maxout: x is str"):
        _core.maxout_forward("x", 2, -1, None)
    with pytest.raises(TypeError, match="maxout: dy is str"):
        _core.maxout_backward("dy", x, 2, -1, None)
    with pytest.raises(ValueError, match="alpha has shape"):
        _core.prelu_forward(x, x, None, None)
    with pytest.raises(ValueError, match="dy has shape"):
        _core.prelu_backward(x[0], x, x[0], None, None, None)
    with pytest.raises(TypeError):
        _core.prelu_forward(x)
    with pytest.raises(ValueError, match="stream_copy"):
        _core.stream_copy(np.ones(3, "float32"), np.ones(4, "float32"))
    with pytest.raises(ValueError, match="stream_copy: target overlaps source"):
        _core.stream_copy(x.ravel()[1:], x.ravel()[:-1])
    with pytest.raises(ValueError, match="read-only"):
        _core.stream_copy(np.broadcast_to(x[0, 0], (4,)), np.ones(4, "float32"))
    for kernel in (_core.Kernel("gelu"), _core.Kernel("math.exp"), _core.Kernel("elu", "backward")):
        for arguments in ((), (None,), (x, x, x, x, x), ("a", "b")):
            with pytest.raises((TypeError, ValueError)):
                kernel(*arguments)


def test_thread_counts():
    for threads in (0, -1, -(10**9)):
        with pytest.raises(
            ValueError, match=f"set_num_threads: threads is {threads}; expected a positive number, or None"
        ):
            bz.set_num_threads(threads)
    for threads in ("two", 1.5, [1]):
        with pytest.raises(TypeError):
            bz.set_num_threads(threads)
    bz.set_num_threads(10**6)
    assert bz.num_threads() <= 256  # what the pool can hold
