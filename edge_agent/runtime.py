"""The network on this gateway: the only file that imports a TFLite runtime.

LiteRT by default, tflite-runtime where LiteRT has no wheel. One interpreter per batch size is kept allocated, because
changing the size of one costs more than running it; batches are padded up to the next size. Buffers are reused.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from edge_agent.config import RuntimeKind
from edge_agent.errors import RuntimeLoadError
from models.bundle.manifest import NetworkSpec, Tensor
from models.signal.arrays import F32, I8
from models.signal.quantise import dequantise, quantise

log = logging.getLogger(__name__)

BATCH_SIZES = (1, 4, 16, 64)
_MODULES = {"litert": "ai_edge_litert", "tflite-runtime": "tflite_runtime"}
_SCALE_TOLERANCE = 1e-5  # the manifest says in decimal what the file holds as float32


@dataclass(frozen=True, slots=True)
class Runtime:
    """A TFLite runtime that was found. `name` with its version, for the reported state."""

    name: str
    make: Callable[..., Any]
    threads: int = 1

    def load(self, model: bytes, spec: NetworkSpec, where: str) -> LiteNetwork:
        """The network of a bundle. Raises: RuntimeLoadError: it cannot be loaded, or is not what `spec` says."""
        return LiteNetwork(self, model, spec, where)

    def interpreter(self, model: bytes, batch: int, where: str) -> Any:  # noqa: ANN401 - neither runtime is typed
        """An interpreter, allocated for one batch size. Raises: RuntimeLoadError."""
        try:
            with _without_chatter():
                interpreter = self.make(model_content=model, num_threads=self.threads)
                details = interpreter.get_input_details()
                if len(details) != 1 or len(interpreter.get_output_details()) != 1 or len(details[0]["shape"]) != 2:
                    raise RuntimeLoadError(f"{where}: expected one (batch, features) input and one output")
                interpreter.resize_tensor_input(details[0]["index"], [batch, int(details[0]["shape"][1])])
                interpreter.allocate_tensors()
        except (ValueError, RuntimeError, TypeError) as error:
            raise RuntimeLoadError(f"{where}: {self.name} cannot load it: {error}") from error
        return interpreter


def find_runtime(kind: RuntimeKind = "auto", threads: int = 1) -> Runtime:
    """The runtime asked for; `auto` takes LiteRT, then tflite-runtime.

    Raises: RuntimeLoadError: it is not installed, or broken; the text names what was tried and why it failed.
    """
    failures = []
    for name in _MODULES if kind == "auto" else (kind,):
        package = _MODULES[name]
        try:
            module = importlib.import_module(f"{package}.interpreter")
        except ImportError as error:
            failures.append(f"{name}: {error}")
            continue
        return Runtime(f"{name} {_version_of(package)}", module.Interpreter, threads)
    raise RuntimeLoadError(f"no TFLite runtime: {'; '.join(failures)}")


def _version_of(package: str) -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(package.replace("_", "-"))
    except PackageNotFoundError:
        return "of unknown version"


class LiteNetwork:
    """An int8 network as a function of real numbers: the `Network` of `models.signal`. Not thread-safe."""

    def __init__(self, runtime: Runtime, model: bytes, spec: NetworkSpec, where: str) -> None:
        self._runtime = runtime
        self._model = model
        self._spec = spec
        self._where = where
        first = _Sized(runtime.interpreter(model, 1, where), np.zeros((1, spec.input.size), np.int8))
        _check_tensor(first.interpreter.get_input_details()[0], spec.input, f"{where}, input")
        _check_tensor(first.interpreter.get_output_details()[0], spec.output, f"{where}, output")
        self._sized = {1: first}

    def __call__(self, x: F32) -> F32:
        """Args: x: (k, inputs). Returns: (k, outputs).

        Raises: RuntimeLoadError: the runtime failed to run it.
        """
        out: F32 = np.empty((len(x), self._spec.output.size), np.float32)
        at = 0
        while at < len(x):
            part = x[at : at + BATCH_SIZES[-1]]
            out[at : at + len(part)] = self._run(part)
            at += len(part)
        return out

    def _run(self, x: F32) -> F32:
        size = next(size for size in BATCH_SIZES if size >= len(x))
        sized = self._sized.get(size) or self._allocate(size)
        ends = self._spec
        quantise(x, ends.input.scale, ends.input.zero_point, out=sized.buffer[: len(x)])
        try:
            q = sized.invoke()
        except (RuntimeError, ValueError) as error:
            raise RuntimeLoadError(f"{self._where}: {self._runtime.name} cannot run it: {error}") from error
        return dequantise(q[: len(x)], ends.output.scale, ends.output.zero_point)

    def _allocate(self, size: int) -> _Sized:
        interpreter = self._runtime.interpreter(self._model, size, self._where)
        shape = tuple(interpreter.get_output_details()[0]["shape"])
        if shape != (size, self._spec.output.size):
            raise RuntimeLoadError(
                f"{self._where}: expected output {(size, self._spec.output.size)} for a batch of {size}, got {shape}"
            )
        self._sized[size] = _Sized(interpreter, np.zeros((size, self._spec.input.size), np.int8))
        return self._sized[size]


class _Sized:
    """An interpreter allocated for one batch size, with its input buffer."""

    def __init__(self, interpreter: Any, buffer: I8) -> None:  # noqa: ANN401 - neither runtime is typed
        self.interpreter = interpreter
        self.buffer = buffer
        self._input = interpreter.get_input_details()[0]["index"]
        self._output = interpreter.get_output_details()[0]["index"]

    def invoke(self) -> I8:
        """Run what is in the buffer: (batch, outputs)."""
        self.interpreter.set_tensor(self._input, self.buffer)
        self.interpreter.invoke()
        result: I8 = self.interpreter.get_tensor(self._output)
        return result


def _check_tensor(details: dict[str, Any], expected: Tensor, where: str) -> None:
    """Hold what the file says of one end against the manifest."""
    if details["dtype"] is not np.int8:
        raise RuntimeLoadError(f"{where}: expected int8, got {np.dtype(details['dtype']).name}")
    shape = tuple(int(n) for n in details["shape"])
    if shape != (1, expected.size):
        raise RuntimeLoadError(f"{where}: expected shape (1, {expected.size}), got {shape}")
    scale, zero_point = details["quantization"]
    if not np.isclose(scale, expected.scale, rtol=_SCALE_TOLERANCE, atol=0.0) or zero_point != expected.zero_point:
        raise RuntimeLoadError(
            f"{where}: expected scale {expected.scale:g} and zero point {expected.zero_point}, "
            f"got {scale:g} and {zero_point}"
        )


@contextlib.contextmanager
def _without_chatter() -> Iterator[None]:
    """Keep the runtime's INFO lines off stderr. It writes them from C++ to descriptor 2 and has no switch for them, so
    the descriptor is led through a file and everything else written to it meanwhile is handed on.
    """
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with open(os.memfd_create("stderr"), "w+b", buffering=0) as file:  # noqa: PTH123 - a descriptor, not a path
            os.dup2(file.fileno(), 2)
            try:
                yield
            finally:
                os.dup2(kept, 2)
                file.seek(0)
                for line in file:
                    if not line.startswith(b"INFO: "):
                        os.write(2, line)
    finally:
        os.close(kept)
