"""`make bench-quantisation`: AUC in float, through the plain converter and on every rung; heads on stand-in clips."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from rich.console import Console
from rich.table import Table

from cloud_hub.data.clips import Clips
from cloud_hub.data.load import Options
from cloud_hub.evaluate.clips import evaluate_clips, fit_clip_baselines
from cloud_hub.runtime import Int8Model
from cloud_hub.training.clips import train_clips
from cloud_hub.training.fit import import_tensorflow
from cloud_hub.training.ladder import INT8_RUNGS
from cloud_hub.training.outside import load_keras
from tests.benchmarks.quantisation.rungs import (
    NAIVE,
    Heads,
    Rungs,
    clip_heads,
    family_rungs,
    head_aucs,
    network_rungs,
    order_for,
)
from tests.benchmarks.quantisation.stand_ins import StandIn, decoded, machines, recordings

_ALSO = ("mahalanobis", "mixture", "machines", "ensemble")


def main() -> None:
    """Run everything."""
    parser = argparse.ArgumentParser(prog="make bench-quantisation", description=__doc__)
    parser.add_argument("--data", default=os.environ.get("MILLWRIGHT_DATA", ""), help="folder with cwru, skab, ...")
    parser.add_argument("--json", help="also write the figures to this file")
    given = parser.parse_args()
    data = Path(given.data) if given.data else None
    console, said = Console(width=140), Console(stderr=True)
    rungs = []
    for row in all_rungs(data):
        said.print(f"[dim]{row.name} done[/]")
        rungs.append(row)
    show(
        console,
        ("AUC", "float", NAIVE, *INT8_RUNGS, "picked"),
        [
            (r.name, r.float_auc, r.naive, *(r.rungs.get(name) for name in INT8_RUNGS), f"{r.picked} {pick(r):.4f}")
            for r in rungs
        ],
    )
    heads = []
    for one in stand_ins(data):
        heads.append(heads_of(one))
        said.print(f"[dim]{one.name} done[/]")
    names = list(dict.fromkeys(name for h in heads for name in h.aucs))
    rows = [(f"{h.name} ({h.picked})", *(h.aucs.get(name) for name in names)) for h in heads]
    show(console, ("AUC on labelled clips (head shipped)", *names), rows)
    if given.json:
        told = {"rungs": msgspec.to_builtins(rungs), "heads": msgspec.to_builtins(heads)}
        Path(given.json).write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")


def pick(row: Rungs) -> float:
    """AUC of the rung that was picked."""
    return row.rungs[row.picked]


def all_rungs(data: Path | None) -> Iterator[Rungs]:
    """Every network whose rungs are told, for the data sets that are there."""
    if data is None:
        return
    cwru = data / "cwru" / "load0_normal_48k_part1.npz"
    if cwru.is_file():
        yield family_rungs("spectral, CWRU", "spectral", "acceleration", str(cwru), Options(axes=("DE",), units="g"))
    skab = data / "skab" / "anomaly-free" / "anomaly-free.csv"
    if skab.is_file():
        yield family_rungs("process, SKAB", "process", "process", str(skab), Options(units="mixed"))
    network = data / "mlperf_tiny_ad" / "models" / "ad01.h5"
    if network.is_file():
        model = load_keras(network).keras_model
        yield network_rungs("MLPerf Tiny network", model, decoded(decoder_of(model), 400, 30, 3))


def stand_ins(data: Path | None) -> Iterator[StandIn]:
    """Clips to compare heads on."""
    yield machines(160, 200, 21, ids=1)
    yield machines(160, 200, 22)
    yield machines(600, 200, 23)
    if data is not None and (data / "cwru").is_dir():
        yield recordings(data, "cwru", 160, 60, 24)
    if data is not None and (data / "femto").is_dir():
        yield recordings(data, "femto", 160, 60, 25)
    if data is not None and (data / "mlperf_tiny_ad" / "models" / "ad01.h5").is_file():
        model = load_keras(data / "mlperf_tiny_ad" / "models" / "ad01.h5").keras_model
        yield decoded(decoder_of(model), 300, 200, 26)


def heads_of(one: StandIn) -> Heads:
    """One stand-in: a bundle trained as anybody would, then everything that it is compared with."""
    healthy = Clips(one.healthy, None, one.name, "0" * 64)
    trained = train_clips(order_for("melspectrum", "sound"), healthy, lambda *_: None)
    labelled = Clips(one.x, one.y.astype(np.int64), one.name, "0" * 64)
    scores = np.asarray(evaluate_clips(trained.bundle, Int8Model(trained.bundle.model).network(), labelled).scores)
    plain = fit_clip_baselines(one.healthy)
    found = clip_heads(one, (trained.evaluation.head, scores), {"plain Mahalanobis": plain.mahalanobis(one.x)})
    return msgspec.structs.replace(found, aucs=found.aucs | dict(head_aucs(one, trained.prepared, _ALSO)))


def decoder_of(model: Any) -> Any:
    """The layers after the narrowest one, as a function of its activations (k, 8)."""
    tf = import_tensorflow()
    dense = [i for i, layer in enumerate(model.layers) if hasattr(layer, "units")]
    after = next(i for i in dense if i > min(dense, key=lambda i: model.layers[i].units))

    def decode(codes: Any) -> Any:
        x = tf.constant(codes)
        for layer in model.layers[after:]:
            x = layer(x, training=False)
        return x.numpy()

    return decode


def show(console: Console, head: tuple[str, ...], rows: list[tuple[str | float | None, ...]]) -> None:
    """One table."""
    table = Table(box=None)
    for i, name in enumerate(head):
        table.add_column(name, justify="right" if i else "left", overflow="fold")
    for row in rows:
        table.add_row(*("-" if v is None else v if isinstance(v, str) else f"{v:.4f}" for v in row))
    console.print(table)


main()
