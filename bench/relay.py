"""Acknowledged webhooks a second of one relay, and how long an answer takes: not delivering, and delivering to both.

Usage: scripts/bench.sh relay [--seconds S] [--runs N] [--json]

Beside it in the same run: the same server without verifying and storing, and SQLite alone by groups of rows, each
group flushed to the disk. The targets are servers that take everything, on the same cores as the relay and the load.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import secrets
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.request import urlopen

from bench.system import ROOT, shown, spread
from migration.relay.seal import new_key
from migration.signing import new_settings, sign

if TYPE_CHECKING:
    from collections.abc import Iterator

_CONNECTIONS = (16, 64)
_DISTINCT = 4000
_ROWS = 20_000


class Load(asyncio.Protocol):
    """One connection that sends the next request when it has the answer to the last."""

    def __init__(self, requests: Iterator[bytes], taken_s: list[float], statuses: dict[bytes, int]) -> None:
        self._requests = requests
        self._taken_s = taken_s
        self._statuses = statuses
        self._read = b""
        self._ended = False
        self.transport: Any = None

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self._next()

    def _next(self) -> None:
        self._began = time.monotonic()
        self.transport.write(next(self._requests))

    def data_received(self, data: bytes) -> None:
        self._read += data
        head, found, rest = self._read.partition(b"\r\n\r\n")
        if not found:
            return
        # Every server here either tells the length or sends one chunk.
        name, _, length = head.lower().rpartition(b"content-length: ")
        if name and len(rest) < int(length.split(b"\r\n")[0]):
            return
        if not name and not rest.endswith(b"0\r\n\r\n"):
            return
        self._read = b""
        self._taken_s.append(time.monotonic() - self._began)
        status = head[9:12]
        self._statuses[status] = self._statuses.get(status, 0) + 1
        if not self._ended:
            self._next()

    def end(self) -> None:
        self._ended = True
        self.transport.close()


def requests(settings: dict[str, Any]) -> list[bytes]:
    """Whole requests: signed Stripe webhooks of 2 KB, each with ids of its own."""
    made = []
    now = datetime.now(UTC)
    for _ in range(_DISTINCT):
        unique = secrets.token_hex(8)
        thing = {
            "id": f"ch_{unique}",
            "object": "charge",
            "captured": True,
            "amount_captured": 4200,
            "currency": "eur",
            "payment_intent": f"pi_{unique}",
            "metadata": {f"key_{place}": "x" * 40 for place in range(30)},
        }
        event = {
            "id": f"evt_{unique}",
            "object": "event",
            "type": "charge.succeeded",
            "created": int(now.timestamp()),
            "data": {"object": thing},
        }
        signed = sign("stripe", json.dumps(event).encode(), settings, now)
        head = "".join(f"{name}: {value}\r\n" for name, value in signed.headers.items())
        line = f"POST /webhooks/stripe HTTP/1.1\r\nhost: relay\r\n{head}content-length: {len(signed.body)}\r\n\r\n"
        made.append(line.encode() + signed.body)
    return made


async def loaded(port: int, made: list[bytes], connections: int, seconds: float) -> dict[str, float]:
    """Answers a second and their times in ms, under as many connections."""
    taken_s: list[float] = []
    statuses: dict[bytes, int] = {}

    def endless() -> Iterator[bytes]:
        while True:
            yield from made

    source = endless()
    loop = asyncio.get_running_loop()
    clients = []
    began = time.monotonic()
    for _ in range(connections):
        _, client = await loop.create_connection(lambda: Load(source, taken_s, statuses), "127.0.0.1", port)
        clients.append(client)
    await asyncio.sleep(seconds)
    took = time.monotonic() - began
    for client in clients:
        client.end()
    if set(statuses) != {b"200"}:
        sys.exit(f"not everything was acknowledged: {statuses}")
    taken_s.sort()
    return {
        "per_s": len(taken_s) / took,
        "p50_ms": taken_s[len(taken_s) // 2] * 1000,
        "p99_ms": taken_s[int(len(taken_s) * 0.99)] * 1000,
    }


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def process(command: list[str], port: int, **environment: str) -> Iterator[None]:
    """A server's process, from when it listens."""
    running = subprocess.Popen(command, cwd=ROOT, env={**os.environ, **environment}, stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 30
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                if running.poll() is not None or time.monotonic() > deadline:
                    sys.exit("a server did not start")
                time.sleep(0.05)
        yield
    finally:
        running.terminate()
        running.wait(30)


def server(port: int) -> contextlib.AbstractContextManager[None]:
    return process([sys.executable, "-m", "bench.relay_servers", str(port)], port)


@contextlib.contextmanager
def relay(home: Path, settings: dict[str, Any], legacy: int, aws: int, mode: str) -> Iterator[tuple[int, int]]:
    """A relay with a new spool; its ports."""
    folder = Path(tempfile.mkdtemp(dir=home))
    port, status_port = free_port(), free_port()
    new_key(folder / "spool.key")
    relays = {"keys": [{"id": "1", "secret": "secret"}]}
    (folder / "keys.json").write_text(json.dumps({"stripe": settings, "relay": relays}))
    config = folder / "relay.toml"
    config.write_text(
        f'name = "bench"\nenvironment = "bench"\nsalt = "bench"\n[spool]\nfile = "spool.db"\nkey_file = "spool.key"\n'
        f'[keys]\nfile = "keys.json"\n[legacy]\nurl = "http://127.0.0.1:{legacy}"\n'
        f'[aws]\nurl = "http://127.0.0.1:{aws}"\n[listen]\nport = {port}\nstatus_port = {status_port}\n'
    )
    command = [sys.executable, "-c", "from migration.cli import app; app()", "relay", "--config", str(config)]
    subprocess.run([*command, "mode", mode], cwd=ROOT, check=True, capture_output=True)
    keys = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
    with process(command, status_port, **keys):
        yield port, status_port


def pending(status_port: int) -> float:
    """How many requests wait for the slower target."""
    with urlopen(f"http://127.0.0.1:{status_port}/metrics") as answer:
        lines = answer.read().decode().splitlines()
    return max(float(line.split()[1]) for line in lines if line.startswith("envmig_relay_pending{"))


def delivered(home: Path, settings: dict[str, Any], made: list[bytes], connections: int, seconds: float) -> Any:
    """Under load and until both targets have everything: acknowledged a second over all of that time."""
    legacy, aws = free_port(), free_port()
    with server(legacy), server(aws), relay(home, settings, legacy, aws, "parallel") as (port, status_port):
        began = time.monotonic()
        told = asyncio.run(loaded(port, made, connections, seconds))
        acknowledged = told["per_s"] * (time.monotonic() - began)
        time.sleep(6)
        while pending(status_port):
            time.sleep(0.5)
        # The gauges are set every five seconds: half of that is taken off.
        return {**told, "delivered_per_s": acknowledged / (time.monotonic() - began - 2.5)}


def bare_sqlite(home: Path, group: int) -> float:
    """Rows a second of 2 KB, each group a transaction that is flushed."""
    connection = sqlite3.connect(home / f"bare-{group}.db", isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("CREATE TABLE rows(id INTEGER PRIMARY KEY, unique_id TEXT UNIQUE, body BLOB)")
    rows = [(secrets.token_hex(8), secrets.token_bytes(2048)) for _ in range(min(_ROWS, 500 * group))]
    began = time.monotonic()
    for start in range(0, len(rows), group):
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany("INSERT INTO rows(unique_id, body) VALUES (?, ?)", rows[start : start + group])
        connection.execute("COMMIT")
    took = time.monotonic() - began
    connection.close()
    return len(rows) / took


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=8)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    settings = new_settings("stripe")
    made = requests(settings)
    home = Path(tempfile.mkdtemp(prefix="relay-bench", dir=ROOT / ".local"))
    told: dict[str, list[dict[str, float]]] = {}
    try:
        for _ in range(arguments.runs):
            for connections in _CONNECTIONS:
                port = free_port()
                with server(port):
                    bare = asyncio.run(loaded(port, made, connections, arguments.seconds))
                told.setdefault(f"no storage, {connections}", []).append(bare)
                # Nobody listens at the targets: the breakers open, and nothing is delivered.
                with relay(home, settings, free_port(), free_port(), "parallel") as (port, _):
                    kept = asyncio.run(loaded(port, made, connections, arguments.seconds))
                told.setdefault(f"relay, not delivering, {connections}", []).append(kept)
                both = delivered(home, settings, made, connections, arguments.seconds)
                told.setdefault(f"relay, delivering to both, {connections}", []).append(both)
            for group in (1, *_CONNECTIONS):
                told.setdefault(f"bare SQLite, groups of {group}", []).append({"per_s": bare_sqlite(home, group)})
                (home / f"bare-{group}.db").unlink()
    finally:
        shutil.rmtree(home, ignore_errors=True)
    results = {name: {what: spread([run[what] for run in runs]) for what in runs[0]} for name, runs in told.items()}
    if arguments.json:
        print(json.dumps(results))
        return
    print("One relay, 2.1 KB webhooks, answers a second and ms; minimum / median / maximum of the runs")
    for name, measured in results.items():
        print(f"  {name:<34} " + "   ".join(f"{what} {shown(values)}" for what, values in measured.items()))
    for connections in _CONNECTIONS:
        rates = [
            results[f"{name}, {connections}"]["per_s"]["median"] for name in ("relay, not delivering", "no storage")
        ]
        print(f"  {connections} connections: {rates[0] / rates[1]:.2f} of the server without storage")


if __name__ == "__main__":
    main()
