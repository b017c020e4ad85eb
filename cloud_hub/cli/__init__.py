"""`cloud-hub`: one file per group of commands, each with a `register(app)`.

Exit codes: 0 done · 1 could not be done · 2 wrong usage · 3 wrong settings or keys · 4 bundle or model refused.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from pkgutil import iter_modules

import typer

from cloud_hub.errors import HubError
from models.errors import BundleError, MillwrightError


def build_app() -> typer.Typer:
    """The command line, gathered from the modules of this folder."""
    app = typer.Typer(
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        help="Train, check, sign, ship and watch models for edge agents. Exit codes: 0 done, 1 could not be done, "
        "2 wrong usage, 3 wrong settings or keys, 4 bundle or model refused.",
    )
    app.callback()(_no_options)  # without it, typer drops the command's name while there is only one
    for module in sorted(m.name for m in iter_modules(__path__) if not m.name.startswith("_")):
        import_module(f"{__name__}.{module}").register(app)
    return app


def _no_options() -> None:
    """Take no options of its own."""


def main() -> None:
    """Run the command line; errors about the outside world become one line and an exit code."""
    # Before numpy is loaded. Our matrices are small, and BLAS threads that wait for each other cost more than they do:
    # where a point is heading takes 10 ms with one, and 150 ms, or seconds on a busy machine, with as many as cores.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    try:
        build_app()()
    except MillwrightError as error:
        typer.echo(f"cloud-hub: {error}", err=True)
        sys.exit(4 if isinstance(error, BundleError) else error.exit_code if isinstance(error, HubError) else 1)
