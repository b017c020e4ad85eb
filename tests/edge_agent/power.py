"""A disk that remembers what was really brought to it, so that the power can be cut after every single call.

The model is pessimistic. What was not flushed may be lost, may be there in part, may be zeros; names that were made,
moved or removed without a flush of their folder may be as before, each by itself, in any combination.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from edge_agent.storage import Disk

Tree = dict[str, bytes | None]
"""Relative path -> content, None for a folder."""

Change = Callable[[bytearray], None]


@dataclass
class Inode:
    """A file or a folder: what it is now, what the disk has for certain, and what happened in between."""

    folder: bool = False
    data: bytearray = field(default_factory=bytearray)
    durable: bytes = b""
    pending: list[tuple[str, int, bytes]] = field(default_factory=list)
    names: dict[str, Inode] = field(default_factory=dict)
    durable_names: dict[str, Inode] = field(default_factory=dict)
    pending_names: list[tuple[str, str, Inode | None]] = field(default_factory=list)


def _apply(data: bytearray, change: tuple[str, int, bytes]) -> None:
    kind, at, new = change
    if kind == "cut":
        del data[at:]
    else:
        data.extend(bytes(max(0, at - len(data))))
        data[at : at + len(new)] = new


def _apply_name(names: dict[str, Inode], change: tuple[str, str, Inode | None]) -> None:
    old, new, inode = change
    if old:
        names.pop(old, None)
    if new and inode is not None:
        names[new] = inode


class RecordingDisk(Disk):
    """Does everything on the real folder `root`, flushes nothing, and calls `after` when a call is done."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.top = Inode(folder=True)
        self.after: Callable[[str], None] = lambda _what: None
        self.calls = 0

    def load(self, tree: Tree) -> None:
        """Begin with a tree that is on the disk for certain."""
        for name, content in sorted(tree.items()):
            parent = self._folder(self.root / name)
            made = Inode(folder=True) if content is None else Inode(data=bytearray(content), durable=content)
            parent.names[Path(name).name] = parent.durable_names[Path(name).name] = made

    def _folder(self, path: Path) -> Inode:
        at = self.top
        for part in path.relative_to(self.root).parts[:-1]:
            at = at.names[part]
        return at

    def _done(self, what: str, path: Path) -> None:
        self.calls += 1
        self.after(f"{what} {path.name}")

    def _opened(self, path: Path) -> Inode:
        folder = self._folder(path)
        inode = folder.names.get(path.name)
        if inode is None:
            inode = Inode()
            folder.names[path.name] = inode
            folder.pending_names.append(("", path.name, inode))
        return inode

    def _change(self, inode: Inode, change: tuple[str, int, bytes]) -> None:
        _apply(inode.data, change)
        inode.pending.append(change)

    def write(self, path: Path, data: bytes) -> None:
        super().write(path, data)
        inode = self._opened(path)
        if inode.data:
            self._change(inode, ("cut", 0, b""))
        self._done("made", path)
        self._change(inode, ("put", 0, bytes(data)))
        self._done("wrote", path)

    def put(self, path: Path, offset: int, data: bytes) -> None:
        super().put(path, offset, data)
        self._change(self._opened(path), ("put", offset, bytes(data)))
        self._done("put", path)

    def truncate(self, path: Path, size: int) -> None:
        super().truncate(path, size)
        self._change(self._opened(path), ("cut", size, b""))
        self._done("truncate", path)

    def sync(self, path: Path) -> None:
        inode = self._folder(path).names[path.name]
        inode.durable, inode.pending = bytes(inode.data), []
        self._done("sync", path)

    def sync_folder(self, folder: Path) -> None:
        if not folder.is_relative_to(self.root):
            return
        inode = self._folder(folder / "x")
        inode.durable_names, inode.pending_names = dict(inode.names), []
        self._done("sync folder", folder)

    def rename(self, path: Path, target: Path) -> None:
        super().rename(path, target)
        assert path.parent == target.parent, "a rename across folders is not in the model"
        folder = self._folder(path)
        change = (path.name, target.name, folder.names[path.name])
        _apply_name(folder.names, change)
        folder.pending_names.append(change)
        self._done("rename", target)

    def unlink(self, path: Path) -> None:
        there = path.exists()
        super().unlink(path)
        if there:
            folder = self._folder(path)
            _apply_name(folder.names, (path.name, "", None))
            folder.pending_names.append((path.name, "", None))
            self._done("unlink", path)

    def mkdir(self, folder: Path) -> None:
        super().mkdir(folder)
        parent = self._folder(folder)
        if folder.name not in parent.names:
            made = Inode(folder=True)
            parent.names[folder.name] = made
            parent.pending_names.append(("", folder.name, made))
            self._done("mkdir", folder)

    # ---- what may be on the disk when the power goes now

    def outcomes(self, rng: random.Random) -> Iterator[tuple[str, Tree]]:
        """Ways in which it may end, the same for the same state of the generator."""

        def all_names(folder: Inode) -> dict[str, Inode]:
            return folder.names

        def some_names(folder: Inode) -> dict[str, Inode]:
            names = dict(folder.durable_names)
            for change in folder.pending_names:
                if rng.random() < 0.5:
                    _apply_name(names, change)
            return names

        def torn(file: Inode, keep: float | None = None) -> bytes:
            """The changes up to one of them, and that one by half."""
            data = bytearray(file.durable)
            whole = len(file.pending) - 1 if keep is None else rng.randint(-1, len(file.pending) - 1)
            for at, (kind, offset, new) in enumerate(file.pending[: whole + 1]):
                _apply(data, (kind, offset, new[: len(new) // 2] if at == whole else new))
            return bytes(data)

        def zeros(file: Inode) -> bytes:
            return bytes(len(file.data)) if file.pending else file.durable

        yield "nothing more reached it", _tree(self.top, lambda f: f.durable_names, lambda f: f.durable)
        yield "all reached it", _tree(self.top, all_names, lambda f: bytes(f.data))
        yield "names, but no content", _tree(self.top, all_names, zeros)
        yield "names, and torn content", _tree(self.top, all_names, torn)
        yield "some names, some content", _tree(self.top, some_names, lambda f: torn(f, 0.5))


def _tree(top: Inode, names: Callable[[Inode], dict[str, Inode]], content: Callable[[Inode], bytes]) -> Tree:
    tree: Tree = {}

    def walk(folder: Inode, prefix: str) -> None:
        for name, inode in sorted(names(folder).items()):
            tree[prefix + name] = None if inode.folder else content(inode)
            if inode.folder:
                walk(inode, f"{prefix}{name}/")

    walk(top, "")
    return tree


def lay_out(tree: Tree, root: Path) -> None:
    """Make the real folder look like that."""
    root.mkdir(parents=True, exist_ok=True)
    for name, data in sorted(tree.items()):
        if data is None:
            (root / name).mkdir()
        else:
            (root / name).write_bytes(data)
