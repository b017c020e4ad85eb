import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from models.bundle.manifest import NetworkSpec, Tensor
from models.signal.quantise import Int8Network, dequantise, quantise

SCALES = st.floats(1e-4, 10.0)
ZERO_POINTS = st.integers(-128, 127)


@given(hnp.arrays(np.float32, 20, elements=st.floats(-1e4, 1e4, width=32)), SCALES, ZERO_POINTS)
def test_never_wraps_and_rounds_to_nearest(x: np.ndarray, scale: float, zero_point: int) -> None:
    q = quantise(x, scale, zero_point).astype(np.int64)
    exact = x.astype(np.float64) / scale + zero_point
    single_precision = np.abs(exact) * 1e-6
    assert (np.abs(q - np.clip(exact, -128, 127)) <= 0.5 + 1e-3 + single_precision).all()


def test_the_case_that_wraps_elsewhere() -> None:
    # scale 0.1, zero point -128, input 25.7: a plain cast gives -127.
    assert quantise(np.array([25.7], np.float32), 0.1, -128)[0] == 127


def test_rounds_instead_of_cutting_off() -> None:
    np.testing.assert_array_equal(quantise(np.array([0.19, -0.19], np.float32), 0.1, 0), [2, -2])


def test_every_code_survives_the_way_there_and_back() -> None:
    codes = np.arange(-128, 128).astype(np.int8)
    np.testing.assert_array_equal(quantise(dequantise(codes, 0.037, 11), 0.037, 11), codes)


def test_fills_a_given_buffer() -> None:
    out = np.empty(3, np.int8)
    assert quantise(np.array([1.0, 2.0, 300.0], np.float32), 1.0, 0, out) is out
    np.testing.assert_array_equal(out, [1, 2, 127])


def test_int8_network_speaks_real_numbers() -> None:
    spec = NetworkSpec(input=Tensor(size=2, scale=0.5, zero_point=0), output=Tensor(size=2, scale=0.25, zero_point=10))
    seen = []

    def invoke(q: np.ndarray) -> np.ndarray:
        seen.append(q)
        return (q + 10).astype(np.int8)

    got = Int8Network(spec, invoke)(np.array([[1.0, -2.0]], np.float32))
    np.testing.assert_array_equal(seen[0], [[2, -4]])
    np.testing.assert_allclose(got, [[0.5, -1.0]])
