"""Packs: files of many pieces of bytes, written once; a piece is read by its location in a pack and its digest."""

import collections
import re
from collections.abc import Iterable, Sequence

from jaxopt_lab.store.folder import Folder
from jaxopt_lab.store.manifest import Piece, digest

PACKS = "packs"  # the folder that they are in
NUMBER = re.compile("[0-9]{1,16}")  # a pack's name


class Packs:
    """The packs of a run folder, with a count of the pieces of each that are in use.

    Args:
        folder: The run folder.
        used: The pieces in use.
        following: The number of the next pack.

    """

    def __init__(self, folder: Folder, used: Iterable[Piece], following: int):
        self._folder, self.following = folder, following
        self._uses = collections.Counter(piece.pack for piece in used)

    def write(self, contents: Sequence[bytes]) -> list[Piece]:
        """Write a new pack; once this returns, it is durable."""
        number, offset, pieces = self.following, 0, []
        self.following += 1
        for content in contents:
            pieces.append(Piece(number, offset, len(content), digest(content)))
            offset += len(content)
        self._folder.write(f"{PACKS}/{number}", b"".join(contents))
        self._uses[number] += len(pieces)
        return pieces

    def read(self, piece: Piece) -> bytes:
        """Read a piece; ValueError, or whatever reading raises, where the bytes are not those that were written."""
        content = self._folder.read_part(f"{PACKS}/{piece.pack}", piece.offset, piece.length)
        if len(content) != piece.length or digest(content) != piece.digest:
            raise ValueError("its checksum does not match")
        return content

    def let_go(self, pieces: Iterable[Piece]) -> None:
        """Release pieces, and remove packs that no longer have a piece in use."""
        for piece in pieces:
            self._uses[piece.pack] -= 1
            if self._uses[piece.pack] == 0:
                self._folder.remove(f"{PACKS}/{piece.pack}")

    def remove_strays(self) -> None:
        """Remove packs that no manifest refers to: those that a dead process had begun to write."""
        for name in self._folder.names(PACKS):
            if NUMBER.fullmatch(name) and not self._uses[int(name)]:
                self._folder.remove(f"{PACKS}/{name}")

    def url(self, piece: Piece) -> str:
        """Return the path or URL of the piece's pack, for messages."""
        return self._folder.url(f"{PACKS}/{piece.pack}")
