"""Bundles that come on a USB stick: packages (`models.bundle.package`) in the state folder's drop folder `incoming/`.

A package is taken as what the broker would have sent: its metadata and its want go to `Orders`, its bundle is handed
out in chunks to the fetch that lacks them. So all is verified as ever, refused for the same reasons, and survives the
same power cuts. A package stays in the folder until its bundle is settled, and is then replaced by an answer.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from pathlib import Path

from edge_agent import storage
from edge_agent.delivery import SlotDelivery
from edge_agent.orders import Orders
from edge_agent.storage import Document, load_document, save_document
from edge_agent.surroundings import reason_of
from edge_agent.update import State
from models.bundle.package import SUFFIX, Package, read_package
from models.contract.ids import SlotId
from models.contract.messages import CHUNK_BYTES, WantBody
from models.errors import BundleFormatError, MillwrightError

log = logging.getLogger(__name__)

FOLDER = "incoming"
ANSWER_SUFFIX = ".answer.json"
LOOK_S = 1.0
_RUNS = {State.SHADOW, State.ACTIVE, State.CONFIRMED}
_FAILED = {State.REFUSED, State.ROLLED_BACK}


class StickAnswer(Document, frozen=True, kw_only=True):
    """What became of a package. `reason` is None when its bundle runs, or learns in shadow."""

    reason: str | None = None
    text: str = ""


def answer_path(package: Path) -> Path:
    """Where the answer to a package appears."""
    return package.with_name(f"{package.name}{ANSWER_SUFFIX}")


def put_package(state_dir: Path, name: str, data: bytes) -> Path:
    """Put a package into the drop folder, an older answer to the same name out. Raises: StorageError."""
    folder = state_dir / FOLDER
    storage.make_folder(folder)
    path = folder / f"{Path(name).stem[:100]}{SUFFIX}"
    storage.remove_durably(answer_path(path))
    storage.write_atomically(path, data)
    return path


def read_answer(package: Path) -> StickAnswer | None:
    """The answer, None while there is none. Raises: StorageError."""
    return load_document(answer_path(package), StickAnswer)


class Stick:
    """Looks into the drop folder. One package at a time."""

    def __init__(
        self,
        state_dir: Path,
        gateway: str,
        orders: Orders,
        deliveries: Mapping[SlotId, SlotDelivery],
    ) -> None:
        self._folder = state_dir / FOLDER
        self._gateway = gateway
        self._orders = orders
        self._deliveries = deliveries
        self._path: Path | None = None
        self._package: Package | None = None
        self._sha256 = ""
        self._want: WantBody | None = None
        self._next_look_s = 0.0

    def poll(self, now_s: float, utc_s: float) -> None:
        """Take the next package, or go on with the one at hand. Raises: StorageError."""
        if self._package is None:
            if now_s >= self._next_look_s:
                self._next_look_s = now_s + LOOK_S
                self._open_next(utc_s)
            return
        self._hand_out(self._package, now_s)
        if self._want is not None:
            self._settle(self._want)

    def _open_next(self, utc_s: float) -> None:
        waiting = sorted(self._folder.glob(f"*{SUFFIX}")) if self._folder.is_dir() else []
        if not waiting:
            return
        self._path = waiting[0]
        try:
            package = read_package(self._path)
        except OSError as error:
            self._answer("storage", f"{self._path}: cannot be read: {error.strerror or error}")
            return
        except BundleFormatError as error:
            self._answer(reason_of(error), str(error))
            return
        envelope = package.wants.get(self._gateway)
        if envelope is None:
            self._answer("want_foreign", f"{self._path.name}: holds no want for gateway {self._gateway}")
            return
        log.info("%s: taken from the drop folder", self._path.name)
        self._package, self._sha256 = package, hashlib.sha256(package.bundle).hexdigest()
        self._orders.take_package(package.metadata, envelope, utc_s, self._want_verified)

    def _want_verified(self, answer: WantBody | MillwrightError) -> None:
        if isinstance(answer, MillwrightError):
            self._answer(reason_of(answer), str(answer))
        elif not any(bundle.sha256 == self._sha256 for bundle in answer.bundles):
            self._answer("target_digest", f"the want does not name the bundle beside it, {self._sha256}")
        else:
            self._want = answer

    def _hand_out(self, package: Package, now_s: float) -> None:
        for delivery in self._deliveries.values():
            fetcher = delivery.fetcher
            if fetcher is not None and fetcher.wanted.sha256 == self._sha256:
                for index in sorted(fetcher.missing()):
                    chunk = package.bundle[index * CHUNK_BYTES : (index + 1) * CHUNK_BYTES]
                    delivery.chunk(self._sha256, index, chunk, now_s)

    def _settle(self, want: WantBody) -> None:
        """Answer once the slot has come as far as it can without live windows."""
        slot = next(bundle.slot for bundle in want.bundles if bundle.sha256 == self._sha256)
        delivery = self._deliveries.get(SlotId(slot))
        if delivery is None:
            self._answer("unknown_slot", f"no point of this gateway names slot {slot}")
            return
        record = delivery.record
        named = record.candidate if record.candidate is not None else record.active
        mine = record.want_seq == want.seq or (named is not None and named.sha256 == self._sha256)
        if record.state in _FAILED and mine:
            self._answer(record.reason or "refused", record.error or "")
        elif record.state in _RUNS and named is not None and named.sha256 == self._sha256:
            where = "in shadow beside the one that runs" if record.state is State.SHADOW else "runs"
            self._answer(None, f"bundle {slot}/{named.version} {where}")
        elif self._orders.want_seq != want.seq:
            self._answer("want_replayed", f"want {self._orders.want_seq} has come meanwhile, over want {want.seq}")

    def _answer(self, reason: str | None, text: str) -> None:
        path, self._package, self._want = self._path, None, None
        if path is None:
            return
        log.log(logging.INFO if reason is None else logging.WARNING, "%s: %s", path.name, text)
        save_document(answer_path(path), StickAnswer(reason=reason, text=text[:2000]))
        storage.remove_durably(path)
