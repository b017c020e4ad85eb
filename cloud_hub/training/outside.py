"""Keras networks that other people made: read without running anything of theirs, checked, quantised."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from cloud_hub.data.clips import Clips
from cloud_hub.data.representative import check_width, load_representative
from cloud_hub.errors import DataError
from cloud_hub.evaluate.network import clips_auc
from cloud_hub.training.fit import float_network, import_tensorflow
from cloud_hub.training.ladder import ALL_RUNGS, INT8_RUNGS, Quantised, Rung, climb
from models.signal.score import Network

_CODE = {"Lambda", "TFSMLayer", "TorchModuleWrapper", "JaxLayer", "FlaxLayer"}
_SUFFIXES = (".h5", ".hdf5", ".keras")
_MAX_CONFIG = 16 * 2**20


class OutsideResult(msgspec.Struct, frozen=True, kw_only=True):
    """What `cloud-hub quantise` says. `rungs`: in the order tried. `auc_*`: on labelled clips, when there were any."""

    model: str
    inputs: int
    rung: str
    kind: str
    passed: bool
    accepted: str | None
    bytes: int
    rows: int
    auc_float: float | None
    auc_quantised: float | None
    rungs: list[Rung]


@dataclass(frozen=True, slots=True)
class OutsideNetwork:
    """A Keras network with one input and one output, both (batch, features)."""

    keras_model: Any
    inputs: int
    outputs: int

    def network(self) -> Network:
        """As a function of arrays."""
        return float_network(self.keras_model)


def load_keras(path: Path) -> OutsideNetwork:
    """Read a `.h5` (also of old Keras 2) or `.keras` file; layers that carry code are refused before anything is built.

    Raises: DataError: not such a file, code in it, or not one input and one output of (batch, features).
    """
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    if path.suffix.lower() not in _SUFFIXES:
        raise DataError(f"{path}: expected a Keras network, a file ending in {', '.join(_SUFFIXES)}")
    config = _config_of(path)
    _refuse_code(path, config)
    tf = import_tensorflow()
    try:
        loaded = tf.keras.models.load_model(path, compile=False, safe_mode=True)
    except (ValueError, TypeError, KeyError, OSError, AttributeError, ImportError, NotImplementedError) as error:
        raise DataError(f"{path}: Keras cannot build this network: {_first_line(error)}") from error
    return _checked(tf, path, loaded)


def quantise_outside(
    outside: OutsideNetwork, name: str, representative: Path, labelled: Clips | None, seed: int, *, sixteen: bool
) -> tuple[Quantised, OutsideResult]:
    """Climb the ladder with a network of somebody else's.

    Args:   labelled: clips to check the loss on besides. sixteen: whether int16 activations may be used.
    Raises: DataError: the rows or clips do not fit the network.
    """
    if outside.inputs != outside.outputs:
        raise DataError(
            f"{name}: the score is the reconstruction error, so it needs as many outputs as inputs; it has "
            f"{outside.inputs} inputs and {outside.outputs} outputs"
        )
    units, period = load_representative(representative, outside.inputs, seed)
    real = outside.network()
    if not np.isfinite(real(units[0])).all():
        raise DataError(f"{name}: says something that is no number for the first rows of {representative}")
    auc_float = None
    if labelled is not None:
        check_width(Path(labelled.name), labelled.x, outside.inputs)
        auc_float = clips_auc(real, labelled)

    def loss(network: Network) -> float:
        return (auc_float or 0.0) - clips_auc(network, labelled) if labelled is not None else 0.0

    quantised = climb(
        outside.keras_model,
        units,
        None,
        seed,
        rungs=ALL_RUNGS if sixteen else INT8_RUNGS,
        period=period,
        check=loss if labelled is not None else None,
    )
    taken = next(rung for rung in quantised.tried if rung.name == quantised.rung)
    return quantised, OutsideResult(
        model=name,
        inputs=outside.inputs,
        rung=quantised.rung,
        kind="int16x8" if quantised.rung == "int16x8" else "int8",
        passed=quantised.passed,
        accepted=None,
        bytes=len(quantised.model),
        rows=units.shape[0] * units.shape[1],
        auc_float=auc_float,
        auc_quantised=None if auc_float is None else auc_float - (taken.labelled_auc_loss or 0.0),
        rungs=quantised.tried,
    )


def _config_of(path: Path) -> object:
    """The network's description, read as plain JSON."""
    try:
        if path.suffix.lower() == ".keras":
            with zipfile.ZipFile(path) as archive:
                info = archive.getinfo("config.json")
                if info.file_size > _MAX_CONFIG:
                    raise DataError(f"{path}: its config.json is {info.file_size:,} bytes, more than any network's")
                return json.loads(archive.read(info))
        import h5py

        with h5py.File(path, "r") as file:
            text = file.attrs.get("model_config")
        if text is None:
            raise DataError(f"{path}: holds weights without a network; save the whole model")
        return json.loads(text)
    except (OSError, KeyError, zipfile.BadZipFile, ValueError, RecursionError) as error:
        raise DataError(f"{path}: not a Keras network: {_first_line(error)}") from error


def _refuse_code(path: Path, config: object) -> None:
    """Raises: DataError: the network names a layer that carries code, or one from outside Keras."""
    for node in _objects(config):
        name = str(node["class_name"])
        module = node.get("module")
        if name in _CODE:
            raise DataError(
                f"{path}: has a {name} layer, which carries code; it is not run here, build the network without"
            )
        foreign = isinstance(module, str) and module.split(".")[0] != "keras"
        if foreign or ">" in name or node.get("registered_name") not in {None, name}:
            origin = module if foreign else node.get("registered_name") or name
            raise DataError(f"{path}: has {name} of {origin}, which is not Keras's own; only its own layers are read")


def _objects(config: object) -> Iterator[dict[str, Any]]:
    """Every object description in a configuration, however deep."""
    todo = [config]
    while todo:
        node = todo.pop()
        if isinstance(node, dict):
            if isinstance(node.get("class_name"), str):
                yield node
            todo.extend(node.values())
        elif isinstance(node, list):
            todo.extend(node)


def _checked(tf: Any, path: Path, loaded: Any) -> OutsideNetwork:  # noqa: ANN401 - TensorFlow has no types
    inputs, outputs = (getattr(loaded, end, None) or [] for end in ("inputs", "outputs"))
    if not inputs or not outputs:
        raise DataError(f"{path}: has no fixed inputs and outputs; call the network once before saving it")
    if (len(inputs), len(outputs)) != (1, 1):
        raise DataError(
            f"{path}: expected one input and one output, it has {len(inputs)} inputs and {len(outputs)} outputs"
        )
    shapes = [tuple(end.shape) for end in (inputs[0], outputs[0])]
    for what, shape in zip(("input", "output"), shapes, strict=True):
        if len(shape) != 2 or not isinstance(shape[1], int):
            raise DataError(f"{path}, {what}: expected (batch, features), got {shape}")
    # Old files say that the input is a list of one, which Keras 3 then wants to see; plain tensors spare that.
    return OutsideNetwork(tf.keras.Model(inputs[0], outputs[0]), shapes[0][1], shapes[1][1])


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0][:300] or type(error).__name__
