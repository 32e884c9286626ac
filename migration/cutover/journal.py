"""The journal of a cut-over: a line for everything that was asked and decided, on the disk before it is acted on."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from migration.cutover.gates import Position

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BEGAN = "began"
LOOKED = "looked"
ASKED = "asked"
ENDED = "ended"

PAUSE, RESUME, ABORT = "pause", "resume", "abort"


class Journal:
    """One file of JSON lines. Each is appended by one write, so that commands may write beside the controller."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._read = 0

    def write(self, what: str, **more: Any) -> None:
        """Append a line, and have it on the disk."""
        line = {"at": datetime.now(UTC).isoformat(timespec="milliseconds"), "what": what, **more}
        descriptor = os.open(self._file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            os.write(descriptor, f"{json.dumps(line)}\n".encode())
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def lines(self) -> list[dict[str, Any]]:
        """All lines; one that a crash cut off at the end is left out."""
        return list(self._parsed(self._content(0)))

    def fresh(self) -> list[dict[str, Any]]:
        """The lines since this was last asked."""
        content = self._content(self._read)
        whole = content[: content.rfind(b"\n") + 1]
        self._read += len(whole)
        return list(self._parsed(whole))

    def _content(self, start: int) -> bytes:
        try:
            with self._file.open("rb") as file:
                file.seek(start)
                return file.read()
        except FileNotFoundError:
            return b""

    @staticmethod
    def _parsed(content: bytes) -> Iterator[dict[str, Any]]:
        for line in content.splitlines():
            try:
                yield json.loads(line)
            except ValueError:
                continue


class Past:
    """What a journal's lines come down to."""

    def __init__(self, lines: list[dict[str, Any]]) -> None:
        self.position: Position | None = None
        self.ended: str = ""
        """How the last run ended; empty while it has not."""
        self.paused = False
        self.dead_letters: int | None = None
        """How many there were at the beginning."""
        for line in lines:
            match line["what"]:
                case "began":
                    self.position, self.ended, self.paused = _position(line["position"]), "", False
                    self.dead_letters = line["dead_letters"]
                case "looked":
                    self.position = _position(line["position"])
                case "asked" if line["asked"] in {PAUSE, RESUME}:
                    self.paused = line["asked"] == PAUSE
                case "ended":
                    self.ended = line["how"]


def told(position: Position) -> dict[str, Any]:
    """A position as the journal has it."""
    return {
        **position._asdict(),
        "since": position.since.isoformat(),
        "data_at": position.data_at.isoformat(),
    }


def _position(line: dict[str, Any]) -> Position:
    return Position(
        **{**line, "since": datetime.fromisoformat(line["since"]), "data_at": datetime.fromisoformat(line["data_at"])}
    )
