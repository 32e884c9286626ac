"""The emulator's process: started detached, found again through one file, stopped by its id."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import NamedTuple

import psutil
import tenacity

from local_aws.errors import LocalAwsError, NotRunningError

_ROOT = Path(__file__).resolve().parents[1]

REGION = "us-east-1"
_READY_WITHIN_S = 30
_STOPPED_WITHIN_S = 15

_STARTED: list[subprocess.Popen[bytes]] = []
"""What this process started and leaves running; kept, so that Python does not warn of a child it lost."""


class Emulator(NamedTuple):
    """The emulator of one folder for local state (.local)."""

    home: Path

    @property
    def _record(self) -> Path:
        return self.home / "emulator.json"

    @property
    def log(self) -> Path:
        """What the emulator and the Lambdas in it print."""
        return self.home / "emulator.log"

    def endpoint(self) -> str:
        """The address of the running emulator, or NotRunningError."""
        if not self._record.exists():
            raise NotRunningError
        endpoint = str(json.loads(self._record.read_text())["endpoint"])
        if not _ready(endpoint):
            raise NotRunningError
        return endpoint

    def ensure(self) -> str:
        """Start the emulator unless it runs, and say where it is."""
        try:
            return self.endpoint()
        except NotRunningError:
            return self._start()

    @property
    def process_id(self) -> int:
        """The running emulator's process."""
        return int(json.loads(self._record.read_text())["pid"])

    def stop(self) -> None:
        """Stop the emulator in the way in which it keeps what it holds; that it does not run is fine."""
        if not self._record.exists():
            return
        with contextlib.suppress(psutil.NoSuchProcess):
            process = psutil.Process(json.loads(self._record.read_text())["pid"])
            # A machine that was restarted may have given the id to somebody else's process.
            if "ministack" in process.cmdline():
                workers = process.children(recursive=True)
                process.terminate()
                _, slow = psutil.wait_procs([process, *workers], _STOPPED_WITHIN_S)
                for left in slow:
                    left.kill()
        for started in _STARTED:
            started.poll()
        self._record.unlink()

    def _port(self) -> int:
        """The port it always had, for queue URLs name it; another when that one is taken, or at first."""
        kept = self.home / "emulator-port"
        port = int(kept.read_text()) if kept.exists() else 0
        if not port or not _is_free(port):
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                port = int(probe.getsockname()[1])
            kept.write_text(str(port))
        return port

    def _start(self) -> str:
        python = self.home / "emulator-venv" / "bin" / "python"
        if not python.exists():
            raise LocalAwsError(f"{python} is missing. Set it up: scripts/deploy_all.sh local")
        _end_left_behind([str(python), "-m", "ministack"])
        port = self._port()
        endpoint = f"http://127.0.0.1:{port}"
        for folder in ("state", "tmp"):
            (self.home / folder).mkdir(parents=True, exist_ok=True)
        daemon = self._start_agent()
        with self.log.open("ab") as log:
            # What is in our own environment would leak into every Lambda, so it gets this and nothing else.
            process = subprocess.Popen(
                [str(python), "-m", "ministack"],
                env={
                    "PATH": f"{python.parent}:/usr/bin:/bin",
                    "HOME": str(self.home),
                    "TMPDIR": str(self.home / "tmp"),
                    "STATE_DIR": str(self.home / "state"),
                    "PERSIST_STATE": "1",
                    "GATEWAY_PORT": str(port),
                    "BIND_HOST": "127.0.0.1",
                    "MINISTACK_HOST": "127.0.0.1",
                    "MINISTACK_REGION": REGION,
                    "AUTH": "true",
                    "IOT_MTLS_ENABLED": "0",
                    "SFTP_ENABLED": "0",
                    "LAMBDA_EXECUTOR": "local",
                    # Meant for the functions, which inherit it.
                    "AWS_XRAY_DAEMON_ADDRESS": daemon,
                },
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        _STARTED.append(process)
        self._record.write_text(json.dumps({"endpoint": endpoint, "pid": process.pid}))

        def ready_or_dead() -> bool:
            return _ready(endpoint) or process.poll() is not None

        waiting = tenacity.Retrying(
            retry=tenacity.retry_if_result(lambda done: not done),
            wait=tenacity.wait_fixed(0.05),
            stop=tenacity.stop_after_delay(_READY_WITHIN_S),
            retry_error_callback=lambda _: False,
        )
        if not waiting(ready_or_dead) or process.poll() is not None:
            raise LocalAwsError(f"the local AWS did not start; its last words are in {self.log}")
        return endpoint

    def _start_agent(self) -> str:
        """Start what stands in for X-Ray's daemon and for CloudWatch's reading of logs; it ends with the emulator."""
        port = self.home / "agent-port"
        port.unlink(missing_ok=True)
        command = [sys.executable, "-m", "local_aws.agent", str(self.home)]
        with (self.home / "agent.log").open("ab") as log:
            process = subprocess.Popen(
                command, cwd=_ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        _STARTED.append(process)
        waiting = tenacity.Retrying(
            retry=tenacity.retry_if_result(lambda text: not text),
            wait=tenacity.wait_fixed(0.02),
            stop=tenacity.stop_after_delay(_READY_WITHIN_S),
            retry_error_callback=lambda _: "",
        )
        found = waiting(lambda: port.read_text() if port.exists() else "")
        if not found:
            raise LocalAwsError(f"the agent beside the local AWS did not start; see {self.home / 'agent.log'}")
        return f"127.0.0.1:{found}"


def _end_left_behind(command: list[str]) -> None:
    """End an emulator of this folder whose record is gone, as after `rm -rf .local`."""
    for process in psutil.process_iter(["cmdline"]):
        if process.info["cmdline"] == command:
            for each in [*process.children(recursive=True), process]:
                with contextlib.suppress(psutil.NoSuchProcess):
                    each.kill()


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def _ready(endpoint: str) -> bool:
    try:
        with urllib.request.urlopen(f"{endpoint}/_ministack/ready", timeout=5):  # noqa: S310
            return True
    except (urllib.error.URLError, OSError):
        return False
