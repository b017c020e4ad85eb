"""`cloud-hub doctor`: is this deployment well, and what is there to mend."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from cloud_hub.cli._common import DEFAULT_HOME, HomeOption


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("doctor")(doctor)


def doctor(
    home: HomeOption = DEFAULT_HOME,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write all findings there.")] = None,
    settings_file: Annotated[
        Path | None,
        typer.Option("--settings", help="Only check this hub.toml, before it is put in place.", dir_okay=False),
    ] = None,
) -> None:
    """Examine settings, files, keys, certificates, database, broker, API and mail, and say what to mend. Ends with 1
    when something does not work or is not safe.
    """
    if settings_file is not None:
        from cloud_hub.settings import load_settings

        load_settings(home, settings_file)
        typer.echo(f"{settings_file}: can be understood")
        return
    from rich.console import Console
    from rich.table import Table

    from cloud_hub.cli._parts import write_result
    from cloud_hub.doctor import places, services, trust
    from cloud_hub.doctor.finding import Check, examine
    from cloud_hub.settings import load_settings

    settings = load_settings(home)
    now_s = time.time()
    checks = [
        Check("home", "name the folder with --home", lambda: places.look_at_home(settings)),
        Check("secrets", "run this as the hub's user", lambda: places.look_at_secrets(settings)),
        Check("clock", "set the clock", lambda: services.look_at_clock(now_s)),
        Check("database", "check database_url, and that the server runs", lambda: services.look_at_database(settings)),
        Check("broker", "is it running at broker_host, broker_port?", lambda: services.look_at_broker(settings)),
        Check("API", "check api_host and public_url", lambda: services.look_at_api(settings)),
        Check("metadata", "`cloud-hub keys show` tells more", lambda: trust.look_at_keys(settings, now_s)),
        Check(
            "certificates",
            "`cloud-hub identity list` tells more",
            lambda: trust.look_at_certificates(settings, now_s),
        ),
        Check("mail", "check smtp_*", lambda: services.look_at_mail(settings)),
    ]
    findings = list(examine(checks))
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    signs = {"ok": "[green]ok[/]", "warning": "[yellow]warning[/]", "problem": "[red]problem[/]"}
    from rich.markup import escape

    for finding in findings:
        mend = f"\n[bold]mend:[/] {escape(finding.mend)}" if finding.mend is not None else ""
        table.add_row(signs[finding.grade], finding.about, escape(finding.text) + mend)
    Console().print(table)
    write_result(json_file, {"findings": [asdict(f) for f in findings]})
    if any(f.grade == "problem" for f in findings):
        raise typer.Exit(1)
