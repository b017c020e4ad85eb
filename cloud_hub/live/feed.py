"""From one watch to many viewers. Two hundred viewers cost the database what one costs.

A thread looks while there are viewers, and only then. Each viewer has a bounded queue in its own event loop; who does
not keep up is let go of, and comes back by itself with the id of what it has seen last (`watch.missed`).
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Collection

from cloud_hub.errors import HubError
from cloud_hub.live.changes import KINDS, Kind
from cloud_hub.live.watch import Event, Watch
from cloud_hub.store.database import Database

_log = logging.getLogger(__name__)
PERIOD_S = 1.0
_RETRY_S = 5.0
QUEUE = 256
_END = b""


class Viewer:
    """Somebody who watches: `next` gives what is to be sent, None at the end."""

    def __init__(self, kinds: Collection[Kind], machines: Collection[str], queue: int) -> None:
        self.kinds = frozenset(kinds)
        self.machines = frozenset(machines)
        self.slow = False
        self._loop = asyncio.get_running_loop()
        self._queue: asyncio.Queue[bytes] = asyncio.Queue(queue)
        self._ended = False

    def wants(self, event: Event) -> bool:
        """Scores of single points go to those who watch their machine, the rest to whoever watches its kind."""
        if event.kind not in self.kinds:
            return False
        if event.kind == "point":
            return event.machine in self.machines if self.machines else event.machine is None
        return not self.machines or event.machine is None or event.machine in self.machines

    def hand_over(self, messages: list[bytes]) -> None:
        """From the watching thread. A loop that has ended has no viewers."""
        self._in_loop(self._take, messages)

    def end(self) -> None:
        """From any thread: what is queued is still sent, nothing after it."""
        self._in_loop(self._end)

    def _in_loop(self, call: Callable[..., None], *arguments: object) -> None:
        """A loop may close at any moment: to look first whether it has would not be enough."""
        try:
            self._loop.call_soon_threadsafe(call, *arguments)
        except RuntimeError:
            if not self._loop.is_closed():
                raise

    async def next(self, patience_s: float) -> bytes | None:
        """What is to be sent next, b"" when nothing came for so long. None: it is over."""
        if self._ended and self._queue.empty():
            return None
        try:
            message = await asyncio.wait_for(self._queue.get(), patience_s)
        except TimeoutError:
            return b""
        return None if message is _END else message

    def _take(self, messages: list[bytes]) -> None:
        for message in messages:
            if self._ended:
                return
            if self._queue.full():
                self.slow = True
                self._end()
                return
            self._queue.put_nowait(message)

    def _end(self) -> None:
        self._ended = True
        if self._queue.empty():
            self._queue.put_nowait(_END)  # wakes it up; otherwise it sees the end once the queue is empty


class Feed:
    """The viewers of a process. `now_s` gives the hub's UTC time."""

    def __init__(
        self, database: Database, now_s: Callable[[], float], *, period_s: float = PERIOD_S, queue: int = QUEUE
    ) -> None:
        self._database = database
        self._now_s = now_s
        self._period_s = period_s
        self._queue = queue
        self._lock = threading.RLock()  # a signal that ends the server may come while its own thread joins
        self._viewers: set[Viewer] = set()
        self._thread: threading.Thread | None = None
        self._wake = threading.Event()
        self._closed = False
        self.looks = 0
        """How many times the database was asked."""

    @property
    def viewers(self) -> int:
        """How many watch."""
        return len(self._viewers)

    def join(self, kinds: Collection[Kind] = KINDS, machines: Collection[str] = ()) -> Viewer:
        """Watch from now on; call it in the event loop of the viewer, and `leave` in the end."""
        viewer = Viewer(kinds, machines, self._queue)
        with self._lock:
            if self._closed:
                viewer.end()
                return viewer
            self._viewers.add(viewer)
            if self._thread is None:
                self._wake.clear()
                self._thread = threading.Thread(target=self._run, name="live", daemon=True)
                self._thread.start()
        return viewer

    def leave(self, viewer: Viewer) -> None:
        """Watch no longer."""
        with self._lock:
            self._viewers.discard(viewer)

    def close(self) -> None:
        """End all viewers, from any thread: the server is about to stop."""
        with self._lock:
            self._closed = True
            viewers, self._viewers = self._viewers, set()
        self._wake.set()
        for viewer in viewers:
            viewer.end()

    def stop(self, timeout_s: float = 10.0) -> None:
        """`close`, and wait until the database is asked no more: call it before that is closed."""
        with self._lock:
            thread = self._thread
        self.close()
        if thread is not None:
            thread.join(timeout_s)

    def _run(self) -> None:
        watch = Watch(self._database)
        begun = False
        while True:
            with self._lock:
                viewers = list(self._viewers)
                if not viewers:
                    self._thread = None
                    return
            pause_s = self._period_s
            try:
                now_s = self._now_s()
                if not begun:
                    watch.begin(now_s)
                    begun = True
                else:
                    self._tell(viewers, watch.look(now_s, frozenset().union(*(v.machines for v in viewers))), now_s)
                self.looks += 1
            except HubError as error:
                # Nobody is told anything for now; what is missed is found by the overlap, or told as `anything`.
                _log.warning("live: %s; looking again in %g s", error, _RETRY_S)
                pause_s = max(pause_s, _RETRY_S)
            except Exception:  # noqa: BLE001 - in the log; whoever comes next starts it anew
                _log.exception("live: stopped; viewers come back and start it anew")
                with self._lock:
                    self._thread = None
                    failed, self._viewers = self._viewers, set()
                for viewer in failed:
                    viewer.end()
                return
            self._wake.wait(pause_s)

    def _tell(self, viewers: list[Viewer], events: list[Event], now_s: float) -> None:
        if not events:
            return
        packed = [(event, pack(event, now_s)) for event in events]
        for viewer in viewers:
            messages = [message for event, message in packed if viewer.wants(event)]
            if messages:
                viewer.hand_over(messages)


def pack(event: Event, now_s: float) -> bytes:
    """As it goes over the wire (HTML standard, 9.2). The id is when we looked, by the hub's clock."""
    return b"id: %.6f\nevent: %s\ndata: %s\n\n" % (now_s, event.kind.encode(), event.data)
