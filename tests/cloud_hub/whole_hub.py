"""A small plant with something of everything in it, for tests that call every operation of the API."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from fastapi import FastAPI

from cloud_hub.accounts.permissions import ROLE_PERMISSIONS, Permission, Principal, Role, command_line
from cloud_hub.accounts.records import Limits
from cloud_hub.api.app import create_app
from cloud_hub.api.server import ApiServer
from cloud_hub.identity.authority import key_pem, make_root, new_key, pem
from cloud_hub.identity.folder import IdentityFolder
from cloud_hub.identity.revocation import refresh_crl
from cloud_hub.identity.service import IdentityService
from cloud_hub.services.gateways import GatewayDesk
from cloud_hub.services.tokens import create_token
from cloud_hub.services.workshop import Workshop
from cloud_hub.store.database import Database
from cloud_hub.store.identities import SqlIdentities
from cloud_hub.store.writer import Received, Writer
from tests.cloud_hub.mlops_kit import NOW_S, MlopsHub, table
from tests.cloud_hub.people import quick_door
from tests.cloud_hub.rollout_kit import add_bundles
from tests.cloud_hub.want_kit import plain_issuer
from tests.simulators.fleet import NEW, SLOT
from tests.simulators.hub import ack, event, state, trends

ADMIN = Principal("anna", "user", ROLE_PERMISSIONS[Role.ADMIN])


@contextmanager
def whole_hub(folder: Path) -> Iterator[tuple[FastAPI, str]]:
    """An application over gateways, an alarm with evidence, trends, a capture, an upload, a data set, bundles, a
    rollout, a label, a training job, a receiver and a certificate authority; and the secret of a token that may do
    everything.
    """
    with Database(f"sqlite:///{folder / 'hub.sqlite3'}") as database:
        database.migrate()
        hub = MlopsHub(database, folder)
        said = (state("gw-1"), state("gw-2"), event(evidence=True), ack(), trends())
        Writer(database, lambda: NOW_S).store([Received(message) for message in said])
        hub.capture()
        add_bundles(database)
        identity = IdentityFolder(hub.settings.identity_dir, "plant")
        identity.create(folder / "root", b"a long enough passphrase", NOW_S)
        refresh_crl(identity, SqlIdentities(database), 30)
        service = IdentityService(hub.settings, identity, SqlIdentities(database), lambda: NOW_S)
        context = replace(
            hub.app.state.context,
            workshop=Workshop(
                hub.places,
                desk=GatewayDesk(hub.settings, identity, database),
                command=lambda _body: None,
                want=plain_issuer(database, folder),
            ),
            enrol=service.enrol,
            authority=service.root_pem,
            door=quick_door(),
        )
        hub.app = create_app(context)
        hub.as_ = ADMIN
        upload = hub.upload("hall.csv", table())["sha256"]
        items = [{"kind": "upload", "ref": upload, "role": "healthy"}]
        hub.ask("POST", "/data-sets", 201, json={"name": "hall", "items": items})
        hub.ask("POST", "/labels", 201, json={"capture": "cap-1", "verdict": "healthy"})
        hub.ask("POST", "/training-jobs", 201, json={"data_set": "hall"})
        hub.ask("POST", "/hooks", 201, json={"name": "cmms", "url": "https://cmms.example/hooks"})
        hub.ask("POST", "/users", 201, json={"name": "ann", "role": "viewer"})
        cohorts = [{"name": "all", "gateways": ["gw-2"]}]  # gw-1 is free for another
        hub.ask("POST", "/rollouts", 201, json={"name": "r1", "slot": SLOT, "sha256": NEW, "cohorts": cohorts})
        _, secret = create_token(
            database, command_line("test"), Limits(), "all", list(Permission), 86_400.0, NOW_S, account=None
        )
        hub.app.state.live.close()  # streams end after what there is to tell: nobody waits for what never comes
        try:
            yield hub.app, secret
        finally:
            service.stop()


@contextmanager
def served(app: FastAPI, folder: Path) -> Iterator[tuple[str, Path]]:
    """The address while it is served over HTTPS from a thread, and the authority of its certificate."""
    root, key = make_root("plant", time.time() - 60, 1), new_key()
    certificate, private, authority = folder / "api.crt", folder / "api.key", folder / "root.crt"
    names = ["localhost", "127.0.0.1"]
    certificate.write_text(pem(root.issue_server(key.public_key(), names, time.time() - 60, 1)))
    private.write_bytes(key_pem(key))
    authority.write_text(pem(root.certificate))
    server = ApiServer(app, "127.0.0.1", 0, tls=(certificate, private))
    thread = threading.Thread(target=server.run, name="hub", daemon=True)
    thread.start()
    try:
        yield server.url, authority
    finally:
        server.stop()
        thread.join(10.0)
