"""What all tables share: column types, names of constraints."""

from __future__ import annotations

from typing import Any, cast

from sqlalchemy import (
    JSON,
    BigInteger,
    Dialect,
    Double,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
)
from sqlalchemy.orm import DeclarativeBase

_NAMES = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}
BIG_ID = BigInteger().with_variant(Integer, "sqlite")  # only INTEGER counts up by itself in SQLite
ID = String(64)
SHA256 = String(64)
BOOT = String(16)
WORD = String(16)


class FreeText(TypeDecorator[str]):
    """Text that people or other programs wrote. NUL becomes U+FFFD: PostgreSQL refuses it, and it is never meant."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:  # noqa: ARG002 - SQLAlchemy's
        """Replace NUL on the way in."""
        return value.replace("\x00", "\N{REPLACEMENT CHARACTER}") if value is not None else None


class Base(DeclarativeBase):
    """Base of all tables."""

    metadata = MetaData(naming_convention=_NAMES)
    type_annotation_map = {  # noqa: RUF012 - SQLAlchemy's way
        str: FreeText,
        float: Double,
        int: BigInteger,
        bytes: LargeBinary,
        dict[str, Any]: JSON(none_as_null=True),
        dict[str, int]: JSON(none_as_null=True),
        dict[str, str]: JSON(none_as_null=True),
        list[str]: JSON(none_as_null=True),
        list[float]: JSON(none_as_null=True),
        list[dict[str, Any]]: JSON(none_as_null=True),
    }


def table_of(row: type[Base]) -> Table:
    """The table of a row's class."""
    return cast(Table, row.__table__)
