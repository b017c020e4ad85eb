"""`python -m cloud_hub.fleet`: build and verify the archives that hosts without internet are installed from."""

from __future__ import annotations

import argparse
import itertools
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from cloud_hub.fleet.archive import verify
from cloud_hub.fleet.build import Order, alone, build, own_wheel
from cloud_hub.fleet.errors import WheelhouseError
from cloud_hub.fleet.sums import make_key
from cloud_hub.fleet.targets import PLATFORMS, choose_kinds, choose_platforms, read_kinds

TREE = Path(__file__).parent.parent.parent
EXIT_CODES = "exit codes: 0 done, 1 could not be done, 2 wrong usage, 4 archive refused"


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m cloud_hub.fleet", description=__doc__, epilog=EXIT_CODES)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    make = commands.add_parser("build", help="make signed archives", epilog=EXIT_CODES)
    make.add_argument(
        "--platforms", default="", metavar="P,P",
        help=f"'all', or of {', '.join(PLATFORMS)} (default: this machine's own)",
    )  # fmt: skip
    make.add_argument("--kinds", default="all", metavar="K,K", help=f"of {', '.join(read_kinds())} (default: all)")
    make.add_argument(
        "--out", type=Path, default=Path("var/wheelhouse"), metavar="FOLDER", help="(default: %(default)s)"
    )
    make.add_argument(
        "--key",
        type=Path,
        metavar="FILE",
        help="to sign with (default: FOLDER/keys/signing, made when it is not there)",
    )
    make.add_argument("--version", metavar="V", help="another version than the sources say, to rehearse an upgrade")
    make.add_argument("--if-changed", action="store_true", help="keep an archive whose sources and lock are the same")
    check = commands.add_parser("verify", help="refuse an archive that is not as it was signed", epilog=EXIT_CODES)
    check.add_argument("archive", type=Path, metavar="FILE.tar")
    check.add_argument("--signers", type=Path, required=True, metavar="FILE", help="the allowed_signers file")
    commands.add_parser("readmes", help="write the README of every role from what it says of itself")
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command; errors about the outside world become one line and an exit code."""
    options = build_parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    try:
        if options.command == "build":
            _build(options)
        elif options.command == "readmes":
            _readmes()
        else:
            members = verify(options.archive, options.signers)
            _say(f"{options.archive.name}: {len(members)} files, all as signed")
    except WheelhouseError as error:
        print(f"wheelhouse: {error}", file=sys.stderr)  # noqa: T201
        sys.exit(error.exit_code)


def _readmes() -> None:
    from cloud_hub.fleet.role_readme import write_all

    for path in write_all(TREE / "ansible" / "roles"):
        _say(f"{path.relative_to(TREE)}: written anew")


def _build(options: argparse.Namespace) -> None:
    os_release = Path("/etc/os-release").read_text("utf-8")
    platforms = choose_platforms(options.platforms, os_release)
    kinds = choose_kinds(options.kinds, read_kinds())
    out = options.out.absolute()
    key = options.key.absolute() if options.key else out / "keys" / "signing"
    if not key.exists():
        if options.key:
            raise WheelhouseError(f"there is no key {key}; make one with ssh-keygen -t ed25519 -f {key}")
        make_key(key)
        _say(f"{key}: a new key; whoever has it can install what they like on every host, so keep it away from them")
    order = Order(
        tree=TREE, out=out, key=key, os_release=os_release, version=options.version, if_changed=options.if_changed
    )
    failed = []
    with alone(order):
        own = own_wheel(order)
        for platform, kind in itertools.product(platforms, kinds):
            try:
                tar = build(order, own, kind, platform)
            except WheelhouseError as error:
                # The other archives are still of use; the end is a failure all the same.
                failed.append(f"{kind.name} for {platform.name}: {error}")
                continue
            _say(f"{tar}  {tar.stat().st_size / 1e6:.0f} MB")
    if failed:
        raise WheelhouseError("\n".join(failed))
    _say(f"{order.signers}: the key that hosts are to know")
