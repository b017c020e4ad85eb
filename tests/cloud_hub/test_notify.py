"""Telling for real: receivers on loopback, a real mail server, the database in between."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import msgspec
import pytest
from aiosmtpd.controller import Controller

from cloud_hub.accounts.permissions import command_line
from cloud_hub.errors import HookError, NotFoundError, StaleError
from cloud_hub.notify.address import read_networks
from cloud_hub.notify.mail import MailServer
from cloud_hub.notify.post import WebhookSender
from cloud_hub.notify.schedule import DELAYS_S
from cloud_hub.notify.signature import headers_of
from cloud_hub.notify.worker import NotifyWorker
from cloud_hub.services import hooks as service
from cloud_hub.store import hooks as queries
from cloud_hub.store import tables as t
from cloud_hub.store.database import Database
from cloud_hub.store.hooks import SqlOutbox
from cloud_hub.store.paging import Paging
from cloud_hub.store.writer import Received, Writer
from tests.simulators.hub import event, state
from tests.simulators.plant import free_ports

ADMIN = command_line("test")
LOOPBACK = read_networks(["127.0.0.0/8"])


class Receiver:
    """An HTTP server that keeps what it is sent and answers as it is told."""

    def __init__(self) -> None:
        self.got: list[tuple[dict[str, str], bytes]] = []
        self.answers: list[tuple[int, dict[str, str]]] = []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                outer.got.append(({k.lower(): v for k, v in self.headers.items()}, body))
                status, headers = outer.answers.pop(0) if outer.answers else (204, {})
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                text = b"" if status == 204 else b"because"
                self.send_header("content-length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/hook?x=1"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    found = Receiver()
    yield found
    found.close()


class Plant:
    """A hub's database, and the worker stepped by hand."""

    def __init__(self, database: Database, mail: MailServer | None = None) -> None:
        self.now_s = 10_000.0
        self.database = database
        self.writer = Writer(database, lambda: self.now_s)
        self.mail = mail
        self._open: list[NotifyWorker] = []
        self.worker = self.new_worker()

    def new_worker(self) -> NotifyWorker:
        outbox = SqlOutbox(self.database, lambda path: f"https://hub.plant{path}")
        worker = NotifyWorker(outbox, WebhookSender(LOOPBACK), self.mail, lambda: self.now_s, lambda: 0.0)
        self._open.append(worker)
        return worker

    def close(self) -> None:
        for worker in self._open:
            worker.stop()

    def step(self) -> None:
        with ThreadPoolExecutor(4) as pool:
            while self.worker.step(pool):
                pass

    def tell(self, **spec: Any) -> service.Made:
        return service.create(self.database, ADMIN, service.HookSpec(name="n", **spec), self.now_s)

    def store(self, *messages: Any) -> None:
        self.writer.store([Received(m) for m in messages])

    def deliveries(self, hook: str) -> list[queries.DeliveryView]:
        with self.database.read() as session:
            return list(queries.list_deliveries(session, Paging(), hook).items)


@pytest.fixture
def plant(database: Database) -> Iterator[Plant]:
    made = Plant(database)
    yield made
    made.close()


def test_an_alarm_arrives_signed_once(plant: Plant, receiver: Receiver) -> None:
    made = plant.tell(url=receiver.url)
    plant.step()
    plant.store(state("gw-1"), event())
    plant.step()
    plant.step()
    assert len(receiver.got) == 1
    headers, body = receiver.got[0]
    told = msgspec.json.decode(body)
    assert told["type"] == "alarm.raised"
    assert told["data"]["machine"] == "P-101"
    assert told["data"]["link"].startswith("https://hub.plant/alarms/gw-1.")
    assert told["data"]["work_order"]["equipment"] == "P-101"
    assert made.secret is not None
    wanted = headers_of(told["id"], float(headers["webhook-timestamp"]), body, [made.secret])
    assert headers["webhook-signature"] == wanted["webhook-signature"]
    assert headers["webhook-id"] == told["id"]
    (delivery,) = plant.deliveries(made.hook.id)
    assert (delivery.state, delivery.attempts, delivery.status) == ("delivered", 1, 204)


def test_what_happened_before_is_not_news(plant: Plant, receiver: Receiver) -> None:
    plant.store(state("gw-1"), event(alarm="a1"))
    plant.step()
    plant.store(event(alarm="a2", seq=20))
    plant.tell(url=receiver.url)
    plant.now_s += 60.0
    plant.step()
    told = [msgspec.json.decode(b)["data"]["alarm"] for _, b in receiver.got]
    assert "a1" not in told
    plant.store(event(alarm="a3", seq=30))
    plant.step()
    told = [msgspec.json.decode(b)["data"]["alarm"] for _, b in receiver.got]
    assert told.count("a3") == 1


def test_a_receiver_that_is_down_gets_it_later(plant: Plant, receiver: Receiver) -> None:
    receiver.answers = [(503, {}), (500, {}), (429, {"retry-after": "100"})]
    made = plant.tell(url=receiver.url)
    plant.step()
    plant.store(state("gw-1"), event())
    plant.step()
    assert len(receiver.got) == 1
    plant.step()
    assert len(receiver.got) == 1, "not before its time"
    for wait_s in (DELAYS_S[0], DELAYS_S[1], 120.0):
        plant.now_s += wait_s + 1
        plant.step()
    assert len(receiver.got) == 4
    assert len({h["webhook-id"] for h, _ in receiver.got}) == 1
    (delivery,) = plant.deliveries(made.hook.id)
    assert (delivery.state, delivery.attempts) == ("delivered", 4)


def test_a_refusal_and_a_redirect_end_it_and_it_can_be_sent_again(plant: Plant, receiver: Receiver) -> None:
    receiver.answers = [(302, {"location": "http://169.254.169.254/"})]
    made = plant.tell(url=receiver.url)
    plant.step()
    plant.store(state("gw-1"), event())
    plant.step()
    (delivery,) = plant.deliveries(made.hook.id)
    assert (delivery.state, delivery.status, delivery.error) == ("failed", 302, "because")
    service.send_again(plant.database, ADMIN, made.hook.id, delivery.id, plant.now_s)
    plant.step()
    assert plant.deliveries(made.hook.id)[0].state == "delivered"


def test_nothing_goes_inside_unless_the_network_is_named(plant: Plant, receiver: Receiver) -> None:
    made = plant.tell(url=receiver.url)
    outbox = SqlOutbox(plant.database, lambda path: path)
    worker = NotifyWorker(outbox, WebhookSender(()), None, lambda: plant.now_s, lambda: 0.0)
    service.send_test(plant.database, ADMIN, made.hook.id, plant.now_s)
    with ThreadPoolExecutor(1) as pool:
        assert worker.step(pool)
    worker.stop()
    assert receiver.got == []
    (delivery,) = plant.deliveries(made.hook.id)
    assert delivery.state == "waiting"
    assert "hooks_allow" in (delivery.error or "")


def test_a_hub_that_dies_while_sending_sends_again_after_the_lease(plant: Plant, receiver: Receiver) -> None:
    made = plant.tell(url=receiver.url)
    service.send_test(plant.database, ADMIN, made.hook.id, plant.now_s)
    outbox = SqlOutbox(plant.database, lambda path: path)
    assert len(outbox.claim(plant.now_s, 60.0, 10)) == 1  # and then the process is gone
    plant.worker = plant.new_worker()
    plant.step()
    assert receiver.got == []
    plant.now_s += 61.0
    plant.step()
    assert len(receiver.got) == 1


def test_two_hubs_do_not_send_the_same(plant: Plant, receiver: Receiver) -> None:
    made = plant.tell(url=receiver.url)
    for _ in range(6):
        service.send_test(plant.database, ADMIN, made.hook.id, plant.now_s)
    first, second = (SqlOutbox(plant.database, lambda path: path) for _ in range(2))
    ids = [d.id for d in (*first.claim(plant.now_s, 60.0, 4), *second.claim(plant.now_s, 60.0, 4))]
    assert len(ids) == len(set(ids)) == 6


def test_hooks_get_what_they_want(plant: Plant, receiver: Receiver) -> None:
    plant.tell(url=receiver.url, kinds=("alarm.cleared",))
    plant.tell(url=receiver.url, machines=("P-999",), kinds=("alarm.raised",))
    plant.step()
    plant.store(state("gw-1"), event())
    plant.step()
    assert receiver.got == []
    plant.store(event(kind="cleared", verdict="ok", seq=50))
    plant.step()
    assert [msgspec.json.decode(b)["type"] for _, b in receiver.got] == ["alarm.cleared"]


def test_a_gateway_that_goes_and_comes_back_is_told(plant: Plant, receiver: Receiver) -> None:
    plant.tell(url=receiver.url, kinds=("gateway.offline", "gateway.online"))
    plant.store(state("gw-1"))
    plant.step()
    assert receiver.got == []
    plant.store(state("gw-1", online=False))
    plant.step()
    assert receiver.got == [], "a short cut is not told"
    plant.now_s += 300.0
    plant.step()
    plant.store(state("gw-1"))
    plant.step()
    assert [msgspec.json.decode(b)["type"] for _, b in receiver.got] == ["gateway.offline", "gateway.online"]


def test_changes_by_two_administrators_do_not_undo_each_other(plant: Plant, receiver: Receiver) -> None:
    made = plant.tell(url=receiver.url)
    spec = service.HookSpec("other", url=receiver.url, enabled=False)
    changed = service.change(plant.database, ADMIN, made.hook.id, spec, 1, plant.now_s)
    assert (changed.name, changed.enabled, changed.revision) == ("other", False, 2)
    with pytest.raises(StaleError, match="expected revision 1, it is at 2"):
        service.change(plant.database, ADMIN, made.hook.id, spec, 1, plant.now_s)
    with pytest.raises(NotFoundError):
        service.change(plant.database, ADMIN, "hook-none", spec, 1, plant.now_s)
    service.remove(plant.database, ADMIN, made.hook.id, 2, plant.now_s, None)
    with plant.database.read() as session:
        assert queries.list_hooks(session, Paging()).items == ()


def test_both_secrets_sign_while_the_receiver_changes_over(plant: Plant, receiver: Receiver) -> None:
    old = plant.tell(url=receiver.url)
    new = service.renew_secret(plant.database, ADMIN, old.hook.id, plant.now_s)
    service.send_test(plant.database, ADMIN, old.hook.id, plant.now_s)
    plant.step()
    headers, body = receiver.got[0]
    stamp = float(headers["webhook-timestamp"])
    both = headers_of(headers["webhook-id"], stamp, body, [new.secret or "", old.secret or ""])
    assert headers["webhook-signature"] == both["webhook-signature"]
    plant.now_s += 2 * 86_400.0
    service.send_test(plant.database, ADMIN, old.hook.id, plant.now_s)
    plant.step()
    assert len(receiver.got[1][0]["webhook-signature"].split()) == 1


def test_the_audit_log_has_every_change_and_no_secret(plant: Plant, receiver: Receiver) -> None:
    made = plant.tell(url=receiver.url)
    service.renew_secret(plant.database, ADMIN, made.hook.id, plant.now_s)
    service.send_test(plant.database, ADMIN, made.hook.id, plant.now_s)
    with plant.database.read() as session:
        entries = session.query(t.AuditEntry).order_by(t.AuditEntry.id).all()
    assert [e.action for e in entries] == ["hook.create", "hook.renew-secret", "hook.test"]
    assert {e.target for e in entries} == {f"hook:{made.hook.id}"}
    assert "whsec_" not in repr([(e.before, e.after) for e in entries])


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        ({}, "expected either url or addresses"),
        ({"url": "https://a.example/", "addresses": ("a@b.example",)}, "expected either url or addresses"),
        ({"url": "gopher://a/"}, "expected https://host/path"),
        ({"addresses": ("nobody",)}, "e-mail: expected"),
        ({"url": "https://a.example/", "kinds": ("alarm.gone",)}, "hook, kinds: expected some of alarm.raised"),
        ({"url": "https://a.example/", "machines": ("P/1",)}, "hook, machines"),
        ({"url": "https://a.example/", "machines": ("P", "P")}, "each once"),
    ],
)
def test_hooks_that_cannot_be(plant: Plant, spec: dict[str, Any], text: str) -> None:
    with pytest.raises(HookError, match=text):
        plant.tell(**spec)


class Mailbox:
    """What a real mail server was handed."""

    def __init__(self) -> None:
        self.mails: list[bytes] = []
        self.refuse: str | None = None

    async def handle_DATA(  # noqa: N802 - aiosmtpd's name
        self, _server: Any, _session: Any, envelope: Any
    ) -> str:
        if self.refuse is not None:
            return self.refuse
        self.mails.append(envelope.content)
        return "250 OK"


@contextmanager
def mail_server(box: Mailbox) -> Iterator[MailServer]:
    controller = Controller(box, hostname="127.0.0.1", port=free_ports(1)[0])
    controller.start()
    assert controller.server is not None
    port = controller.server.sockets[0].getsockname()[1]
    try:
        yield MailServer("127.0.0.1", port, "none", "hub@plant.example")
    finally:
        controller.stop()


def test_mail_goes_through_a_real_server(database: Database) -> None:
    box = Mailbox()
    with mail_server(box) as server:
        plant = Plant(database, server)
        plant.tell(addresses=("shift@plant.example", "chief@plant.example"))
        plant.step()
        plant.store(state("gw-1"), event())
        plant.step()
        plant.close()
    assert len(box.mails) == 1
    assert b"Subject: [alarm] P-101" in box.mails[0]
    assert b"To: shift@plant.example, chief@plant.example" in box.mails[0]


@pytest.mark.parametrize(("answer", "state_"), [("451 later", "waiting"), ("550 no such box", "failed")])
def test_a_mail_server_that_refuses(database: Database, answer: str, state_: str) -> None:
    box = Mailbox()
    box.refuse = answer
    with mail_server(box) as server:
        plant = Plant(database, server)
        made = plant.tell(addresses=("shift@plant.example",))
        service.send_test(database, ADMIN, made.hook.id, plant.now_s)
        plant.step()
        (delivery,) = plant.deliveries(made.hook.id)
        plant.close()
    assert (delivery.state, delivery.status) == (state_, int(answer[:3]))


def test_mail_is_never_sent_in_the_clear_when_tls_is_asked_for(database: Database) -> None:
    box = Mailbox()
    with mail_server(box) as server:
        secure = MailServer(server.host, server.port, "starttls", server.sender, "user", "secret")
        plant = Plant(database, secure)
        made = plant.tell(addresses=("shift@plant.example",))
        service.send_test(database, ADMIN, made.hook.id, plant.now_s)
        plant.step()
        (delivery,) = plant.deliveries(made.hook.id)
        plant.close()
    assert box.mails == []
    assert delivery.state == "waiting"
    assert "STARTTLS" in (delivery.error or "")


def test_without_a_mail_server_it_waits_and_says_so(plant: Plant) -> None:
    made = plant.tell(addresses=("shift@plant.example",))
    service.send_test(plant.database, ADMIN, made.hook.id, plant.now_s)
    plant.step()
    (delivery,) = plant.deliveries(made.hook.id)
    assert "smtp_host" in (delivery.error or "")
