"""One row in every table of the first migration."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection


def fill_first_release(connection: Connection) -> None:
    """Insert the rows; the dialects agree on every literal but that for bytes."""
    data = "x'61626364'" if connection.dialect.name == "sqlite" else r"'\x61626364'"
    for statement in Path(__file__).with_name("first_release.sql").read_text().split(";\n"):
        connection.exec_driver_sql(statement.replace(":BYTES:", data))
