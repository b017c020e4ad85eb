"""`firmware-sim replay`: recordings of real machines."""

from __future__ import annotations

import time
from typing import Annotated

import numpy as np
import typer

from firmware_sim.cli import _options
from firmware_sim.cli._display import Display
from firmware_sim.events import EventLog
from firmware_sim.pace import Pace
from firmware_sim.replay import Playback, Replay
from firmware_sim.tapes import read_tape
from models.contract.ids import GatewayId, NodeId


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog=_options.EXIT_CODES)(replay)


def replay(
    files: Annotated[
        list[str],
        typer.Argument(
            metavar="FILE...",
            help="npz, CSV or WAV. FILE@0.6-1.0 is a part in fractions, FILE@2s-10s in seconds; ends may be missing.",
        ),
    ],
    gateway: Annotated[str, typer.Option(help="The gateway to send to.")],
    node: Annotated[str, typer.Option(help="The node to send as.")],
    channels: Annotated[str, typer.Option(help="Names, with commas between them; all when not given.")] = "",
    axes: Annotated[bool, typer.Option("--axes", help="Channels are axes of port 0; else a port each.")] = False,  # noqa: FBT002
    rate: Annotated[float | None, typer.Option(help="Sampling rate in Hz, where the file does not state it.")] = None,
    units: Annotated[str, typer.Option(help="Units of the recordings.")] = "g",
    send_units: Annotated[str | None, typer.Option(help="Units of the frames, g or m/s2, when they differ.")] = None,
    values: Annotated[bool, typer.Option("--values", help="Send float32 values instead of int16 counts.")] = False,  # noqa: FBT002
    frame: Annotated[int, typer.Option(min=0, max=8192, help="Samples per frame; 0: about 31 ms.")] = 0,
    pause: Annotated[float, typer.Option(min=0.0, help="Wall-clock seconds between recordings.")] = 1.0,
    loop: Annotated[int, typer.Option(min=1, help="How many times over.")] = 1,
    seed: Annotated[int | None, typer.Option(min=0, max=2**32 - 1, help="For boot ids; random when not given.")] = None,
    broker: _options.BrokerOption = None,
    username: _options.UserOption = None,
    password_file: _options.PasswordOption = None,
    ca_file: _options.CaOption = None,
    cert_file: _options.CertOption = None,
    key_file: _options.KeyOption = None,
    out: _options.OutOption = None,
    events: _options.EventsOption = None,
    speed: _options.SpeedOption = 1.0,
) -> None:
    """Replay recordings as frames of one node. Each file is a new boot of the node: recordings do not join."""
    stop = _options.stop_on_signals()
    names = [name.strip() for name in channels.split(",") if name.strip()]
    playback = Playback(
        gateway=GatewayId(_options.an_id(gateway, "--gateway")),
        node=NodeId(_options.an_id(node, "--node")),
        as_axes=axes,
        units=units,
        send_units=send_units or units,
        frame=frame,
        as_values=values,
        pause_s=pause,
    )
    tapes = [read_tape(file, names, rate) for file in files] * loop
    rng = np.random.default_rng(seed)
    played = Replay(tapes, playback, rng, time.time())
    link = _options.open_link(
        broker, out, username, password_file, (ca_file, cert_file, key_file), _options.client_id(), patient=speed == 0
    )
    total_s = sum(tape.end_s - tape.start_s for tape in tapes)
    try:
        with EventLog(events, time.time) as log, Display(_options.STDERR, "replay", total_s) as display:
            played.run(
                link, log, Pace(speed, stop), stop,
                report=lambda r: display.show(r.sim_s, r.sent, link.dropped, r.playing.name if r.playing else ""),
            )  # fmt: skip
    finally:
        link.close()
    _options.STDERR.print(
        f"stopped after {played.sim_s:.1f} of {total_s:.1f} recorded seconds: {played.sent} frames", highlight=False
    )
