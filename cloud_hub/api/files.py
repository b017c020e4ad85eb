"""Tables as files, written while they are read: CSV (RFC 4180) and Parquet."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from typing import Any

from cloud_hub.store.exports import Kind, Row, Table

CSV, PARQUET = "text/csv; charset=utf-8", "application/vnd.apache.parquet"
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_GROUP_ROWS = 20_000


def csv_bytes(table: Table) -> Iterator[bytes]:
    """The header, then batch by batch. Text that would be a formula in a spreadsheet gets an apostrophe before it."""
    yield _lines([tuple(name for name, _ in table.columns)])
    kinds = [kind for _, kind in table.columns]
    for batch in table.batches:
        yield _lines([tuple(_cell(value, kind) for value, kind in zip(row, kinds, strict=True)) for row in batch])


def _cell(value: Any, kind: Kind) -> str:  # noqa: ANN401 - of the column's kind
    if value is None:
        return ""
    if kind == "text":
        return f"'{value}" if value.startswith(_FORMULA) else value
    return " ".join(map(repr, value)) if kind == "reals" else repr(value)


def _lines(rows: list[Row]) -> bytes:
    out = io.StringIO()
    csv.writer(out).writerows(rows)
    return out.getvalue().encode()


class _Sink(io.RawIOBase):
    """Takes what is written and gives it away again."""

    def __init__(self) -> None:
        super().__init__()
        self._parts: list[bytes] = []

    def writable(self) -> bool:
        """It is."""
        return True

    def write(self, data: Any) -> int:  # noqa: ANN401 - any buffer
        """Keep it until `take`."""
        part = bytes(data)
        self._parts.append(part)
        return len(part)

    def take(self) -> bytes:
        """All that was written since."""
        parts, self._parts = self._parts, []
        return b"".join(parts)


def parquet_bytes(table: Table) -> Iterator[bytes]:
    """Row groups of some ten thousand rows, then the footer."""
    import pyarrow as pa
    from pyarrow import parquet

    types: dict[Kind, Any] = {"text": pa.string(), "real": pa.float64(), "whole": pa.int64(),
                              "reals": pa.list_(pa.float64())}  # fmt: skip
    schema = pa.schema([pa.field(name, types[kind]) for name, kind in table.columns])
    sink = _Sink()
    rows: list[Row] = []

    def group() -> Any:  # noqa: ANN401 - pyarrow has no types
        columns = list(zip(*rows, strict=True)) or [()] * len(schema)
        return pa.table([pa.array(c, field.type) for c, field in zip(columns, schema, strict=True)], schema=schema)

    with parquet.ParquetWriter(sink, schema, compression="zstd") as writer:
        for batch in table.batches:
            rows += batch
            if len(rows) >= _GROUP_ROWS:
                writer.write_table(group())
                rows = []
                yield sink.take()
        writer.write_table(group())
    yield sink.take()
