"""`python -m demo`: see `make demo`."""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

from rich.console import Console

from demo import recorded, simulated
from demo.processes import Processes, StepFailedError, processes
from demo.screen import Screen


def main() -> int:
    """Tell a story; exit code 0 when every step happened, 1 when one did not."""
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument("--data", type=Path, help="folder with recordings: tell the story on real bearings")
    parser.add_argument("--exit", action="store_true", help="end after the summary instead of staying up")
    parser.add_argument("--json", type=Path, help="write the summary to this file")
    parser.add_argument("--folder", type=Path, default=Path("var/demo"), help="where everything is kept; emptied first")
    arguments = parser.parse_args()
    folder = arguments.folder.resolve()
    if folder.exists():
        shutil.rmtree(folder)
    story = recorded if arguments.data is not None else simulated
    screen = Screen(story.STEPS)
    began = time.monotonic()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # also where a shell has put us in the background
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with processes(folder) as started:
        summary, failed = _tell(screen, started, folder, arguments.data)
        sign_in = summary.pop("sign_in", "")  # whoever has it becomes administrator: not for the file
        summary |= {"ok": not failed, "seconds": round(time.monotonic() - began, 1), "steps": screen.steps}
        if arguments.json is not None:
            arguments.json.write_text(json.dumps(summary, indent=1) + "\n")
        if failed:
            screen.console.print(f"[bold red]did not happen:[/bold red] {failed}\nlogs are in {folder}")
            return 1
        _show(screen, summary)
        if not arguments.exit:
            screen.console.print(f"\nThe hub stays up at [bold]{summary['url']}[/bold] until Ctrl-C.")
            fault = summary["alarm"]["fault"] or "no known fault"
            where = f"{summary['alarm']['machine']}/{summary['alarm']['point']}"
            screen.console.print(
                f"The fault just caught ({where}, {fault}), its spectrum and the matching order; this link works "
                f"once:\n[bold]{sign_in}[/bold]",
                soft_wrap=True,
            )
            _stay(started)
    return 0


def _tell(screen: Screen, started: Processes, folder: Path, data: Path | None) -> tuple[dict[str, Any], str]:
    """The summary, and what did not happen ("" when everything did)."""
    try:
        if data is not None:
            plant, summary = recorded.tell(screen, started, folder, data.resolve())
        else:
            plant, summary = simulated.tell(screen, started, folder)
    except StepFailedError as error:
        return {}, str(error)
    summary["url"] = plant.url
    summary["page"] = f"/alarms/{quote(summary['alarm']['id'], safe='')}"
    summary["sign_in"] = plant.sign_in_link(summary["page"])
    wrong = recorded.shortcomings(summary) if data is not None else _shortcomings(summary)
    return summary, "; ".join(wrong)


def _shortcomings(summary: dict[str, Any]) -> list[str]:
    wrong = []
    if summary["false_alarms"]:
        wrong.append(f"{summary['false_alarms']} false alarms")
    if summary["alarm"]["machine"] != "P-101":
        wrong.append(f"the alarm names {summary['alarm']['machine']}, not P-101")
    if summary["spectrum"] is None or summary["spectrum"]["fault"] != summary["alarm"]["fault"]:
        wrong.append(f"the alarm's page shows {summary['spectrum']}, not {summary['alarm']['fault']}")
    return wrong


def _show(screen: Screen, summary: dict[str, Any]) -> None:
    auc = summary["auc"]
    rows = [
        ["training", f"{summary['train_s']:.1f} s"],
        ["bundle (network in it)", f"{summary['bundle_bytes']:,} ({summary['network_bytes']:,}) bytes"],
        ["AUC float / int8 / RMS", f"{auc['float']:.4f} / {auc['int8']:.4f} / {auc['baseline']:.4f}"],
        ["delivery to all gateways", f"{summary['delivery_s']:.1f} s"],
        ["bytes sent by the hub", f"{summary['hub_bytes_sent']:,}"],
        ["forged bundle", f"refused ({summary['forged_reason'].split(':')[0]})"],
        ["detection delay", f"{summary['detection_delay_s']:.2f} s"],
        ["false alarms", str(summary["false_alarms"])],
        ["agent's resident memory", f"{summary['agent_rss_mb']:.0f} MB"],
        ["the whole story", f"{summary['seconds']:.0f} s"],
    ]
    if "recordings" in summary:
        recorded.show(screen, summary["recordings"])
    screen.table("Summary", ["", ""], rows)


def _stay(started: Processes) -> None:
    try:
        while True:
            started.check()
            time.sleep(1.0)
    except KeyboardInterrupt:
        return


def _main() -> int:
    """`main`, with the two ways in which a story may end early."""
    try:
        return main()
    except KeyboardInterrupt:
        Console().print("interrupted; everything has been stopped")
    except StepFailedError as error:
        Console().print(f"[bold red]stopped:[/bold red] {error}")
    return 1


if __name__ == "__main__":
    sys.exit(_main())
