"""The same data twice: equal columns in a file, and the same stretch in two files or at two places of one.

Stretches are found by the hashes of all runs of `STRETCH` samples, of which those whose hash ends in zeros are kept, so
that the same runs are kept in every file (fingerprints by local selection: Schleimer, Wilkerson & Aiken 2003).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from models.signal.arrays import F64

STRETCH = 64
_CHANGES = 16  # a run with fewer changes of value is a flat stretch, and those are alike everywhere
_KEPT = 16  # one run in so many
_MIN_SHARED = 4
_ROWS = 200_000
_EQUAL = 1e-8
_BASE = 0x9E3779B97F4A7C15  # odd, so that it has an inverse modulo 2**64
_INVERSE = pow(_BASE, -1, 1 << 64)

Hashes = npt.NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class Shared:
    """A column of two files (of one, when `first` is `second`) that hold the same stretch.

    `share`: of the smaller one's runs. `first_row`, `second_row`: where the first such run begins, from 0.
    """

    first: int
    second: int
    column: str
    share: float
    first_row: int
    second_row: int


@dataclass(frozen=True, slots=True)
class Prints:
    """The kept runs of one column: hashes and first rows, both (k,)."""

    hashes: Hashes
    rows: npt.NDArray[np.int64]


def fingerprints(values: F64) -> Prints:
    """The kept runs of a column (n,); a run with a missing value or too few changes is left out."""
    if len(values) < STRETCH:
        return Prints(np.empty(0, np.uint64), np.empty(0, np.int64))
    # The bits of the single: one recording may be stored in both precisions.
    bits = (values.astype(np.float32) + np.float32(0)).view(np.uint32).astype(np.uint64)
    mixed = (bits ^ (bits >> np.uint64(15))) * np.uint64(0xD6E8FEB86659FD93)
    powers = _powers(_BASE, len(values) + 1)
    prefix = np.zeros(len(values) + 1, np.uint64)
    np.cumsum(mixed * _powers(_INVERSE, len(values)), out=prefix[1:])
    hashes = (prefix[STRETCH:] - prefix[:-STRETCH]) * powers[: len(values) - STRETCH + 1]
    hashes ^= hashes >> np.uint64(29)
    changes = np.r_[0, np.cumsum(np.diff(values) != 0)]
    missing = np.r_[0, np.cumsum(~np.isfinite(values))]
    lively = changes[STRETCH - 1 :] - changes[: len(changes) - STRETCH + 1] >= _CHANGES
    keep = (hashes % np.uint64(_KEPT) == 0) & lively & (missing[STRETCH:] == missing[:-STRETCH])
    rows = np.flatnonzero(keep)
    return Prints(hashes[rows], rows)


def _powers(base: int, n: int) -> Hashes:
    powers = np.full(n, base, np.uint64)
    powers[0] = 1
    np.cumprod(powers, out=powers)
    return powers


def shared_stretches(column: str, prints: dict[int, Prints]) -> list[Shared]:
    """Pairs of files whose columns of this name hold the same stretch, and files that hold one twice.

    Args: prints: by number of the file.
    """
    if not prints:
        return []
    hashes = np.concatenate([p.hashes for p in prints.values()])
    owners = np.concatenate([np.full(len(p.hashes), i) for i, p in prints.items()])
    rows = np.concatenate([p.rows for p in prints.values()])
    order = np.lexsort((rows, owners, hashes))
    hashes, owners, rows = hashes[order], owners[order], rows[order]
    same = np.flatnonzero(hashes[1:] == hashes[:-1])
    pairs: dict[tuple[int, int], list[int]] = {}
    for i in same.tolist():
        # A periodic signal repeats itself at a short distance all the time; a copied block does not.
        if owners[i] != owners[i + 1] or rows[i + 1] - rows[i] >= STRETCH:
            pairs.setdefault((int(owners[i]), int(owners[i + 1])), []).append(i)
    found = []
    for (first, second), places in pairs.items():
        if len(places) >= _MIN_SHARED:
            share = min(1.0, len(places) / min(len(prints[first].hashes), len(prints[second].hashes)))
            where = min(places, key=lambda i: int(rows[i]))
            found.append(Shared(first, second, column, share, int(rows[where]), int(rows[where + 1])))
    return found


def equal_columns(columns: dict[str, F64]) -> list[tuple[str, str]]:
    """Pairs of columns that hold the same values, or the same but for factor and offset. Constant ones are left out.

    Judged by correlation over at most `_ROWS` rows, evenly drawn, in which no column has a hole.
    """
    names = list(columns)
    if len(names) < 2:
        return []
    x = np.stack([columns[name][:: -(-len(columns[name]) // _ROWS)] for name in names])
    x = x[:, np.isfinite(x).all(axis=0)]
    if x.shape[1] < STRETCH:
        return []
    x -= x.mean(axis=1, keepdims=True)
    length = np.sqrt(np.square(x).sum(axis=1))
    moves = length > 0
    x[moves] /= length[moves, None]
    same = np.triu(np.abs(x @ x.T) > 1 - _EQUAL, 1) & np.outer(moves, moves)
    second = np.flatnonzero(same.any(axis=0))
    return [(names[int(same[:, j].argmax())], names[j]) for j in second.tolist()]
