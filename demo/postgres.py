"""A PostgreSQL server of its own, on loopback, for as long as it is needed."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

_DEBIAN = Path("/usr/lib/postgresql")


class PostgresError(Exception):
    """The server did not start; the message says why."""


def binaries() -> Path | None:
    """Where initdb and pg_ctl are; None where there is no PostgreSQL server. Debian keeps them off the PATH."""
    on_path = shutil.which("initdb")
    if on_path:
        return Path(on_path).parent
    found = sorted(_DEBIAN.glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    return found[-1].parent if found else None


class Postgres:
    """One server, whose data are gone when it ends."""

    def __init__(self) -> None:
        # Not below a folder of the caller's: PostgreSQL refuses to run as root, and its own user has to reach it.
        self._folder = Path(tempfile.mkdtemp(prefix="envmig-postgres-"))
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = int(probe.getsockname()[1])

    @property
    def url(self) -> str:
        """Its address, for any client of this host."""
        return f"postgresql://postgres@127.0.0.1:{self._port}/postgres"

    def start(self) -> None:
        """Make its data and start it, or raise PostgresError."""
        found = binaries()
        if found is None:
            raise PostgresError("there is no PostgreSQL server (on Debian: apt-get install postgresql)")
        self._bin = found
        if os.geteuid() == 0:
            shutil.chown(self._folder, "postgres")
        data = self._folder / "data"
        if not data.exists():
            self._run("initdb", "-D", str(data), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync")
        options = (
            f"-p {self._port} -c listen_addresses=127.0.0.1 -c unix_socket_directories='' -c max_connections=100"
        )
        self._run("pg_ctl", "-D", str(data), "-l", str(self._folder / "log"), "-w", "-o", options, "start")

    def stop(self) -> None:
        """End it at once."""
        self._run("pg_ctl", "-D", str(self._folder / "data"), "-m", "immediate", "stop")
        shutil.rmtree(self._folder, ignore_errors=True)

    def _run(self, program: str, *arguments: str) -> None:
        user = {"user": "postgres", "group": "postgres", "extra_groups": []} if os.geteuid() == 0 else {}
        ran = subprocess.run(  # type: ignore[call-overload] # the user comes as a mapping
            [str(self._bin / program), *arguments], cwd="/", stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
            text=True, check=False, **user,
        )  # fmt: skip
        if ran.returncode:
            raise PostgresError(f"{program} failed: {ran.stderr.strip()}")

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
