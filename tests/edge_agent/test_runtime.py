"""The runtime: what the file says is held against the manifest, batches give what single rows give."""

from __future__ import annotations

import os

import msgspec
import numpy as np
import pytest

from edge_agent import runtime as module
from edge_agent.errors import RuntimeLoadError
from edge_agent.runtime import BATCH_SIZES, find_runtime
from models.bundle.manifest import NetworkSpec
from models.signal.quantise import dequantise, quantise
from tests.edge_agent.kit import DATA, model_bytes, network_spec, runtime

RNG = np.random.default_rng(9)


@pytest.mark.parametrize("rows", [1, 2, 4, 5, 16, 63, 64, 65, 130])
def test_any_number_of_rows_gives_what_each_row_gives_alone(rows: int) -> None:
    spec = network_spec()
    network = runtime().load(model_bytes(), spec, "test")
    x = RNG.normal(0.0, 2.0, (rows, 8)).astype(np.float32)
    interpreter = runtime().interpreter(model_bytes(), 1, "test")
    alone = []
    for one in x:
        q = quantise(one[None], spec.input.scale, spec.input.zero_point)
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], q)
        interpreter.invoke()
        out = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
        alone.append(dequantise(out, spec.output.scale, spec.output.zero_point))
    np.testing.assert_array_equal(network(x), np.concatenate(alone))
    np.testing.assert_array_equal(
        network(x), np.concatenate(alone), "buffers are reused: a second call must not differ"
    )


def test_interpreters_are_allocated_once_per_size(monkeypatch: pytest.MonkeyPatch) -> None:
    spec, made, real = network_spec(), [], module.Runtime.interpreter

    def counted(self, model, batch, where):
        made.append(batch)
        return real(self, model, batch, where)

    monkeypatch.setattr(module.Runtime, "interpreter", counted)
    network = runtime().load(model_bytes(), spec, "test")
    for rows in (1, 3, 4, 64, 200, 1, 3):
        network(np.zeros((rows, 8), np.float32))
    assert sorted(made) == [*BATCH_SIZES]


def change(end: str, **values: object) -> NetworkSpec:
    spec = network_spec()
    return msgspec.structs.replace(spec, **{end: msgspec.structs.replace(getattr(spec, end), **values)})


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        (change("input", size=9), r"bundle a, input: expected shape \(1, 9\), got \(1, 8\)"),
        (change("output", zero_point=100), "bundle a, output: expected scale .* and zero point 100, got"),
        (change("input", scale=0.5), "bundle a, input: expected scale 0.5 and zero point"),
    ],
)
def test_a_file_that_is_not_what_the_manifest_says(spec: NetworkSpec, text: str) -> None:
    with pytest.raises(RuntimeLoadError, match=text):
        runtime().load(model_bytes(), spec, "bundle a")


def test_a_float_network_is_refused() -> None:
    with pytest.raises(RuntimeLoadError, match="bundle a, input: expected int8, got float32"):
        runtime().load((DATA / "dense8_float.tflite").read_bytes(), network_spec(), "bundle a")


@pytest.mark.parametrize("model", [b"", b"junk" * 100, None])
def test_what_is_no_network_is_refused(model: bytes | None) -> None:
    """A gateway with tflite-runtime, which has no verifier, relies on digests and on the counter of starts."""
    if model is None and not runtime().name.startswith("litert"):
        pytest.skip("tflite-runtime 2.14 crashes on a network that is cut short")
    data = model if model is not None else model_bytes()[:1000]
    with pytest.raises(RuntimeLoadError, match=r"bundle a: \S+ \S+ cannot load it"):
        runtime().load(data, network_spec(), "bundle a")


def test_no_runtime_names_what_was_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MODULES", {"litert": "no_such_a", "tflite-runtime": "no_such_b"})
    with pytest.raises(RuntimeLoadError, match=r"no TFLite runtime: litert: No module .*; tflite-runtime: No module"):
        find_runtime("auto")
    with pytest.raises(RuntimeLoadError, match="no TFLite runtime: tflite-runtime: "):
        find_runtime("tflite-runtime")


def test_chatter_is_kept_off_stderr_but_errors_are_not(capfd: pytest.CaptureFixture[str]) -> None:
    with module._without_chatter():
        os.write(2, b"INFO: Created a delegate\nERROR: this matters\n")
    assert capfd.readouterr().err == "ERROR: this matters\n"
