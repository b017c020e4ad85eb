"""`cloud-hub keys`: the keys that everything rests on."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cloud_hub.cli._common import DEFAULT_HOME, HomeOption, JsonOption, caller
from cloud_hub.cli._parts import write_result
from cloud_hub.errors import HubError

if TYPE_CHECKING:
    from cloud_hub.settings import Settings
    from cloud_hub.trust.ceremony import Proposal, PublicKey, SigningKey
    from cloud_hub.trust.documents import Expiry

Passphrase = Callable[[Path], bytes | None]
_ONLINE = ("timestamp", "snapshot", "targets", "director")
_EPILOG = "Exit codes: 0 done, 1 the drill failed, 2 wrong usage, 3 keys or signatures that do not fit."

PassphraseFile = Annotated[
    Path | None,
    typer.Option(
        "--passphrase-file",
        help="First line: passphrase of the keys in the safe. Else MILLWRIGHT_KEY_PASSPHRASE, else it is asked for.",
        dir_okay=False,
    ),
]
RootKeys = Annotated[
    list[Path] | None,
    typer.Option("--root-key", help="A root key to sign with. Repeat to reach the threshold.", dir_okay=False),
]
Out = Annotated[Path | None, typer.Option("--out", help="Write what is to be signed to this file.", dir_okay=False)]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(no_args_is_help=True, help=f"Make, replace and use the keys of a fleet. {_EPILOG}")
    for name, command in (
        ("init", init), ("show", show), ("rotate", rotate), ("export", export), ("sign", sign), ("import", import_),
        ("drill", drill),
    ):  # fmt: skip
        group.command(name, epilog=_EPILOG)(command)
    app.add_typer(group, name="keys")


def _passphrase(file: Path | None, *, new: bool = False) -> Passphrase:
    """From the environment, a file, or a person; without any of these, none: keys are then made unencrypted."""
    from cloud_hub.trust.keys import passphrase_from

    unattended = passphrase_from(file)
    asked: list[bytes | None] = []

    def ask(path: Path) -> bytes | None:
        said = unattended(path)
        if said is not None or not sys.stdin.isatty():
            return said
        if new and asked:
            return asked[0]
        text = typer.prompt(
            f"passphrase of {path.name}" + (" and the others (empty: none)" if new else ""),
            hide_input=True, confirmation_prompt=new, default="" if new else None, show_default=False, err=True,
        )  # fmt: skip
        asked.append(text.encode() or None)
        return asked[-1]

    return ask


def _expiry(settings: Settings, root_days: float = 3650) -> Expiry:
    from cloud_hub.trust.documents import Expiry

    return Expiry(settings.timestamp_days, settings.snapshot_days, settings.targets_days, root_days)


def init(
    root_dir: Annotated[
        Path, typer.Option("--root-dir", help="For the root keys: best a removable medium.", file_okay=False)
    ],
    home: HomeOption = DEFAULT_HOME,
    root_keys: Annotated[int, typer.Option("--root-keys", min=1, max=16, help="How many root keys.")] = 1,
    threshold: Annotated[
        int, typer.Option("--threshold", "--root-threshold", min=1, max=16, help="How many of them must sign.")
    ] = 1,
    root_days: Annotated[float, typer.Option("--root-days", min=1, help="How long the root is valid.")] = 3650,
    *,
    offline_targets: Annotated[
        bool, typer.Option("--offline-targets", help="Keep the key of targets with the root keys: see `export`.")
    ] = False,
    passphrase_file: PassphraseFile = None,
    json: JsonOption = None,
) -> None:
    """Make all keys and an empty repository. Nothing is ever overwritten."""
    from cloud_hub.settings import load_settings
    from cloud_hub.trust.keys import create_repository, passphrase_from, secret_expected

    settings = load_settings(home)
    made = create_repository(
        settings.repository_dir,
        settings.keys_dir,
        root_dir,
        time.time(),
        root_keys=root_keys,
        root_threshold=threshold,
        expiry=_expiry(settings, root_days),
        offline_targets=offline_targets,
        root_passphrase=_passphrase(passphrase_file, new=True),
        passphrase=passphrase_from(settings.keys_passphrase_file) if settings.keys_passphrase_file else None,
    )
    typer.echo(f"root of trust, for every gateway: {made.root}")
    typer.echo(f"root keys, {threshold} of {root_keys} sign; keep them away from this machine:")
    for path in made.root_keys:
        typer.echo(f"  {path}" + ("" if secret_expected(path) else "  (not encrypted: no passphrase was given)"))
    typer.echo(f"online keys: {settings.keys_dir}")
    _note(settings, "keys.init", {"root_keys": root_keys, "threshold": threshold, "offline_targets": offline_targets})
    write_result(
        json,
        {
            "root": str(made.root),
            "root_keys": [str(p) for p in made.root_keys],
            "online_keys": [str(p) for p in made.online_keys],
        },
    )


def show(home: HomeOption = DEFAULT_HOME, json: JsonOption = None) -> None:
    """Show every role: version, expiry, keys, and where one has to sign."""
    from cloud_hub.settings import load_settings
    from cloud_hub.trust.documents import DIRECTOR, director_of
    from cloud_hub.trust.keys import hub_repository
    from models.contract.messages import MAX_METADATA_BYTES

    repository = hub_repository(load_settings(home))
    roles = repository.roles()
    root, targets = repository.root(), repository.targets_metadata()
    rows: list[dict[str, object]] = []
    for role, metadata in roles.items():
        named = root.signed.roles[role]
        rows.append(
            {
                "role": role, "version": metadata.signed.version, "expires": metadata.signed.expires.isoformat(),
                "threshold": named.threshold, "keys": list(named.keyids), "online": repository.online(role),
            }
        )  # fmt: skip
    rows.append(
        {
            "role": DIRECTOR, "version": targets.signed.version, "expires": targets.signed.expires.isoformat(),
            "threshold": 1, "keys": director_of(targets).keyids, "online": repository.online(DIRECTOR),
        }
    )  # fmt: skip
    for row in rows:
        keys = row["keys"]
        short = " ".join(keyid[:12] for keyid in keys) if isinstance(keys, list) else ""
        where = "here" if row["online"] else "elsewhere"
        typer.echo(
            f"{row['role']:<10} version {row['version']:>4}  until {str(row['expires'])[:10]}  "
            f"signed {where:<9}  {row['threshold']} of {short}"
        )
    oldest, newest = repository.roots_on_the_way()
    size, concerns = len(repository.metadata_bundle()), repository.concerns(time.time())
    typer.echo(f"message to the gateways: {size:,} of {MAX_METADATA_BYTES:,} bytes, roots {oldest} to {newest}")
    for concern in concerns:
        typer.echo(f"warning: {concern}", err=True)
    write_result(
        json, {"roles": rows, "oldest_root": oldest, "newest_root": newest, "bytes": size, "concerns": concerns}
    )


def rotate(  # noqa: PLR0912 - one branch for each thing that can be asked for
    roles: Annotated[
        list[str], typer.Argument(help="root, timestamp, snapshot, targets, director, or `online` for the last four.")
    ],
    home: HomeOption = DEFAULT_HOME,
    root_key: RootKeys = None,
    out: Out = None,
    new_root_dir: Annotated[
        Path | None, typer.Option("--new-root-dir", help="For the new root keys (with `root`).", file_okay=False)
    ] = None,
    root_keys: Annotated[int, typer.Option("--root-keys", min=1, max=16, help="How many new root keys.")] = 1,
    threshold: Annotated[
        int | None, typer.Option("--threshold", min=1, max=16, help="How many root keys must sign from now on.")
    ] = None,
    root_days: Annotated[float, typer.Option("--root-days", min=1, help="How long the new root is valid.")] = 3650,
    targets_key: Annotated[
        Path | None, typer.Option("--new-targets-key", help="New offline key of targets, in PEM.", dir_okay=False)
    ] = None,
    passphrase_file: PassphraseFile = None,
    json: JsonOption = None,
) -> None:
    """Replace the keys of roles. The root signs for it, here (--root-key) or elsewhere (--out), but not for director.

    New online keys are made here; they wait as ROLE.next.pem until the root that names them is adopted.
    """
    from cloud_hub.settings import load_settings
    from cloud_hub.trust.ceremony import load_public_key, propose_root, sign_root, write_proposal
    from cloud_hub.trust.documents import DIRECTOR
    from cloud_hub.trust.keys import FileSigners, hub_repository, load_signer, make_key, passphrase_from

    chosen = [one for role in roles for one in (_ONLINE if role == "online" else (role,))]
    for role in chosen:
        if role not in (*_ONLINE, "root"):
            raise typer.BadParameter(f"expected root, online, {', '.join(_ONLINE)}, got {role!r}", param_hint="ROLE")
    in_root = [role for role in chosen if role != DIRECTOR]
    if in_root and bool(root_key) == (out is not None):
        raise typer.BadParameter("expected either --root-key or --out", param_hint="--root-key")
    if ("root" in chosen) != (new_root_dir is not None):
        raise typer.BadParameter("belongs together with the role root", param_hint="--new-root-dir")
    settings = load_settings(home)
    repository, now_s = hub_repository(settings), time.time()
    signers = FileSigners(settings.keys_dir, passphrase_from(settings.keys_passphrase_file))
    passphrase = _passphrase(passphrase_file)
    old = [load_signer(path, passphrase) for path in root_key or []]
    signed: list[str] = []
    if in_root:
        new_root: list[SigningKey] = []
        if new_root_dir is not None:
            version = repository.root().signed.version + 1
            paths = [new_root_dir / f"root-{version}-{i}.pem" for i in range(1, root_keys + 1)]
            new_root = [make_key(path, _passphrase(passphrase_file, new=True)) for path in paths]
        offline = load_public_key(targets_key) if targets_key is not None else None
        if offline is None and "targets" in in_root and not repository.online("targets"):
            raise typer.BadParameter("targets are signed elsewhere", param_hint="--new-targets-key")
        fresh: dict[str, list[PublicKey]] = {"root": [one.public_key for one in new_root]} if new_root else {}
        for role in in_root:
            if role != "root":
                key = offline if role == "targets" and offline is not None else signers.stage(role).public_key
                fresh[role] = [key]
        proposal = propose_root(repository, now_s, root_days, fresh, threshold)
        if out is not None:
            for signer in new_root:
                proposal.sign(signer, append=True)
            write_proposal(out, proposal)
            typer.echo(f"root {proposal.signed.version} waits for signatures in {out}: keys sign, then keys import")
        else:
            sign_root(proposal, repository.root().signed, [*old, *new_root])
            signed += repository.adopt(proposal, None, now_s)[0]
            typer.echo(f"root {proposal.signed.version} names the new keys of {', '.join(in_root)}")
    if DIRECTOR in chosen:
        signed += repository.change_director(signers.stage(DIRECTOR).public_key, now_s)
        typer.echo("targets name the new director; issue the wants anew: cloud-hub want GATEWAY... --resign")
    if signed:
        typer.echo(f"signed anew: {', '.join(dict.fromkeys(signed))}; a running hub sends it within a minute")
    written = list(dict.fromkeys(signed))
    _note(settings, "keys.rotate", {"roles": chosen, "signed": written, "waits_for_signatures": out is not None})
    write_result(json, {"roles": chosen, "signed": written, "out": str(out) if out else None})


def export(
    role: Annotated[str, typer.Argument(help="root or targets.")],
    out: Annotated[Path, typer.Option("--out", help="The file to be signed.", dir_okay=False)],
    home: HomeOption = DEFAULT_HOME,
    add: Annotated[
        list[Path] | None, typer.Option("--add", help="A bundle to sign for (targets).", exists=True)
    ] = None,
    remove: Annotated[list[str] | None, typer.Option("--remove", help="A target path to drop (targets).")] = None,
    *,
    director: Annotated[
        bool, typer.Option("--new-director", help="Make a new director key and name it (targets).")
    ] = False,
    days: Annotated[float | None, typer.Option("--days", min=1, help="How long it is valid.")] = None,
    json: JsonOption = None,
) -> None:
    """Write the next root or targets, unsigned, for signing on another machine."""
    from cloud_hub.settings import load_settings
    from cloud_hub.trust.ceremony import describe, propose_root, propose_targets, write_proposal
    from cloud_hub.trust.documents import target_of
    from cloud_hub.trust.keys import FileSigners, hub_repository, passphrase_from
    from models.bundle.archive import read_bundle

    if role not in ("root", "targets"):
        raise typer.BadParameter(f"expected root or targets (the others are signed here), got {role!r}")
    if role == "root" and (add or remove or director):
        raise typer.BadParameter("--add, --remove and --new-director are for targets")
    settings = load_settings(home)
    repository, expiry = hub_repository(settings), _expiry(settings)
    lasts = days or expiry.of(role)
    if role == "root":
        write_proposal(out, proposal := propose_root(repository, time.time(), lasts))
        _tell(describe(proposal), out, json)
        return
    bundles = (read_bundle(path.read_bytes(), path.name) for path in add or [])
    entries = dict(target_of(one.manifest, one.sha256, one.length) for one in bundles)
    signers = FileSigners(settings.keys_dir, passphrase_from(settings.keys_passphrase_file))
    key = signers.stage("director").public_key if director else None
    made = propose_targets(repository, time.time(), lasts, add=entries, remove=remove or [], director=key)
    write_proposal(out, made)
    _tell(describe(made), out, json)


def sign(
    file: Annotated[Path, typer.Argument(help="What `export` or `rotate --out` wrote.", exists=True, dir_okay=False)],
    key: Annotated[Path, typer.Option("--key", help="The key to sign with.", dir_okay=False)],
    passphrase_file: PassphraseFile = None,
    json: JsonOption = None,
) -> None:
    """Add a signature to a file, on any machine: no hub is needed."""
    from cloud_hub.trust.ceremony import sign_file
    from cloud_hub.trust.keys import load_signer

    _tell(sign_file(file, load_signer(key, _passphrase(passphrase_file))), file, json)


def import_(
    files: Annotated[list[Path], typer.Argument(help="Signed root, targets or both.", exists=True, dir_okay=False)],
    home: HomeOption = DEFAULT_HOME,
    json: JsonOption = None,
) -> None:
    """Adopt what was signed elsewhere. Enough signatures, the next version, still valid: else nothing changes."""
    from cloud_hub.settings import load_settings
    from cloud_hub.trust.ceremony import adopt_files
    from cloud_hub.trust.keys import hub_repository

    settings = load_settings(home)
    signed, changed = adopt_files(hub_repository(settings), files, time.time())
    typer.echo(f"adopted {', '.join(path.name for path in files)}; signed anew: {', '.join(signed)}")
    if changed:
        typer.echo(f"new keys are in use: {', '.join(changed)}")
    _note(settings, "keys.import", {"files": [path.name for path in files], "signed": signed, "changed": changed})
    write_result(json, {"signed": list(signed), "changed": list(changed)})


def drill(
    roles: Annotated[list[str] | None, typer.Argument(help="Online roles whose keys are stolen; all if none.")] = None,
    home: HomeOption = DEFAULT_HOME,
    root_key: RootKeys = None,
    passphrase_file: PassphraseFile = None,
    json: JsonOption = None,
) -> None:
    """Rehearse the loss of online keys, in a copy: replace them by the root, see that a gateway follows and a thief
    is refused. Without --root-key in a repository made up for it.
    """
    from cloud_hub.settings import load_settings
    from cloud_hub.trust.drill import rehearse
    from cloud_hub.trust.keys import load_signer, passphrase_from

    settings = load_settings(home)
    online = [role for role in _ONLINE if (settings.keys_dir / f"{role}.pem").exists()] if root_key else list(_ONLINE)
    chosen = roles or online
    if unknown := [role for role in chosen if role not in online]:
        raise typer.BadParameter(f"expected some of {', '.join(online)}, got {', '.join(unknown)}", param_hint="ROLES")
    asked = _passphrase(passphrase_file)
    signers = [load_signer(path, asked) for path in root_key or []]
    steps = rehearse(
        settings.repository_dir, settings.keys_dir, signers, chosen, time.time(), expiry=_expiry(settings),
        passphrase=passphrase_from(settings.keys_passphrase_file),
        say=lambda step: typer.echo(f"- {step.did}: {step.outcome}"),
    )  # fmt: skip
    typer.echo("the drill went well; the copy is gone")
    write_result(json, {"steps": [{"did": step.did, "outcome": step.outcome} for step in steps]})


def _note(settings: Settings, action: str, after: dict[str, object]) -> None:
    """Into the audit log. Keys may have to be replaced while the database is away, so that only is told."""
    from cloud_hub.store.audit import record
    from cloud_hub.store.database import open_database

    plain = {name: list(value) if isinstance(value, tuple) else value for name, value in after.items()}
    try:
        with open_database(settings) as database, database.write() as session:
            record(session, caller(), action, "keys", before=None, after=plain, now_s=time.time())
    except HubError as error:
        typer.echo(f"warning: done, but not in the audit log: {error}", err=True)


def _tell(proposal: Proposal, path: Path, json: Path | None) -> None:
    """What a file says, for whoever is to sign it."""
    typer.echo(f"{path}: {proposal.role} {proposal.version}, valid until {proposal.expires}")
    for role, keys in proposal.keys.items():
        typer.echo(f"  {role}: {' '.join(keys)}")
    for target in proposal.targets:
        typer.echo(f"  {target}")
    typer.echo(f"signed by: {' '.join(proposal.signed_by) or 'nobody yet'}")
    write_result(
        json,
        {
            "file": str(path), "role": proposal.role, "version": proposal.version, "expires": proposal.expires,
            "keys": {role: list(keys) for role, keys in proposal.keys.items()}, "targets": list(proposal.targets),
            "signed_by": list(proposal.signed_by),
        },
    )  # fmt: skip
