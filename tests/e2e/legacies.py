"""The old system as a process before a database of its own, and the mapping of that database."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from demo.legacy import Ledger, write_mapping
from demo.postgres import Postgres, binaries
from tests.conftest import ROOT
from tests.e2e.relays import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType
    from typing import Self

NO_POSTGRES = pytest.mark.skipif(
    binaries() is None, reason="no PostgreSQL server (on Debian: apt-get install postgresql)"
)


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL server."""
    with Postgres() as running:
        yield running


class OldSystem:
    """The old system's process."""

    def __init__(self, database: str, folder: Path) -> None:
        self.database = database
        self.ledger = Ledger(database)
        self.mapping = folder / "mapping.toml"
        write_mapping(self.mapping)
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}/webhooks"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", "demo.legacy", "--database", self.database, "--port", str(self.port)]
        self._process = subprocess.Popen(command, cwd=ROOT)
        deadline = time.monotonic() + 30
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
            except OSError:
                assert time.monotonic() < deadline
                time.sleep(0.05)
            else:
                return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process
        self._process.terminate()
        self._process.wait(10)
        self.ledger.close()
