"""`firmware-sim`: one file per command, each with a `register(app)`.

Exit codes: 0 done or stopped · 1 could not be done · 2 wrong usage · 3 wrong scenario.
"""

from __future__ import annotations

import sys
from importlib import import_module
from pkgutil import iter_modules

import typer

from firmware_sim.cli._options import EXIT_CODES
from firmware_sim.errors import SimError
from models.errors import MillwrightError


def build_app() -> typer.Typer:
    """The command line, gathered from the modules of this folder."""
    app = typer.Typer(
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        help=f"Stand in for the sensor nodes of a plant: simulated machines, or recordings of real ones. {EXIT_CODES}",
    )
    for module in sorted(m.name for m in iter_modules(__path__) if not m.name.startswith("_")):
        import_module(f"{__name__}.{module}").register(app)
    return app


def main() -> None:
    """Run the command line; errors about the outside world become one line each and an exit code."""
    try:
        build_app()()
    except MillwrightError as error:
        for line in str(error).splitlines():
            typer.echo(f"firmware-sim: {line}", err=True)
        sys.exit(error.exit_code if isinstance(error, SimError) else 1)
