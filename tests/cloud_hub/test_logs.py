"""Records carry what they are about, stay one line, and survive arguments that do not fit."""

from __future__ import annotations

import io
import json
import logging
import threading
from collections.abc import Iterator

import pytest

from cloud_hub.observing.logs import about, set_up


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level


def lines(stream: io.StringIO) -> list[dict[str, str]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_json_carries_the_ids_of_the_blocks_around() -> None:
    stream = io.StringIO()
    set_up(logging.INFO, "json", stream)
    log = logging.getLogger("cloud_hub.somewhere")
    with about(request="r1"):
        with about(gateway="gw-7", rollout="ro"):
            log.info("sent %d", 3)
        log.info("after")
    log.info("outside")
    first, second, third = lines(stream)
    assert (first["text"], first["request"], first["gateway"], first["rollout"]) == ("sent 3", "r1", "gw-7", "ro")
    assert first["level"] == "info"
    assert first["logger"] == "cloud_hub.somewhere"
    assert "gateway" not in second
    assert second["request"] == "r1"
    assert "request" not in third


def test_threads_do_not_share_what_they_are_about() -> None:
    stream = io.StringIO()
    set_up(logging.INFO, "json", stream)
    with about(request="r1"):
        thread = threading.Thread(target=lambda: logging.getLogger("x").info("other"))
        thread.start()
        thread.join()
    assert "request" not in lines(stream)[0]


def test_a_fault_comes_with_its_trace_on_one_line() -> None:
    stream = io.StringIO()
    set_up(logging.INFO, "json", stream)
    error = ValueError("broken\nin two")
    logging.getLogger("x").error("failed", exc_info=error)
    assert len(stream.getvalue().splitlines()) == 1
    assert "ValueError: broken\nin two" in lines(stream)[0]["trace"]


def test_text_from_elsewhere_cannot_make_a_line_of_ours() -> None:
    stream = io.StringIO()
    set_up(logging.INFO, "text", stream)
    with about(gateway="gw-1"):
        logging.getLogger("x").warning("topic %s", "a\n2031-01-01 INFO cloud_hub: all is well")
    assert len(stream.getvalue().splitlines()) == 1
    assert stream.getvalue().rstrip().endswith("[gateway=gw-1]")


def test_arguments_that_do_not_fit_are_shown_not_lost() -> None:
    stream = io.StringIO()
    set_up(logging.INFO, "json", stream)
    logging.getLogger("x").info("%d gateways", "many")
    assert "'%d gateways'" in lines(stream)[0]["text"]
    assert "many" in lines(stream)[0]["text"]


def test_an_unknown_id_is_a_mistake_of_ours() -> None:
    with pytest.raises(TypeError, match="got colour"), about(colour="red"):
        pass
