"""The whole migration on this machine, in a few minutes. Run it by scripts/demo_migration.sh."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
import webbrowser
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import boto3

from adapters.items import payment_key
from demo.legacy import Ledger, write_mapping
from demo.postgres import Postgres, binaries
from demo.traffic import Traffic
from local_aws.emulator import Emulator
from migration.deployment import Deployment
from migration.relay.seal import new_key

ROOT = Path(__file__).resolve().parents[1]
SUFFIX = "demo"
_ENVMIG = str(ROOT / ".venv" / "bin" / "envmig")
_OUTAGE_S = 8
_BEGAN = time.monotonic()


def main() -> None:
    """Take the old system to AWS."""
    parser = argparse.ArgumentParser(prog="scripts/demo_migration.sh", description=__doc__)
    parser.add_argument("--payments", type=int, default=100_000, help="old payments (100,000)")
    parser.add_argument("--rate", type=float, default=25, help="webhooks a second (25)")
    parser.add_argument("--seconds", type=float, default=8, help="the least seconds of each step (8)")
    parser.add_argument("--no-open", action="store_true", help="do not open the report at the end")
    arguments = parser.parse_args()
    home = Path(os.environ["ENVMIG_LOCAL_DIR"])
    try:
        with contextlib.ExitStack() as stack:
            Demo(home, arguments, stack).run()
    except subprocess.CalledProcessError as error:
        sys.exit(f"error: {' '.join(map(str, error.cmd[:3]))} ... ended with {error.returncode}; see {home}")
    finally:
        Emulator(home).stop()
    if not arguments.no_open and sys.stdout.isatty():
        webbrowser.open((home / "report" / "report.html").as_uri())


class Demo:
    """The parts, and the way through them."""

    def __init__(self, home: Path, arguments: argparse.Namespace, stack: contextlib.ExitStack) -> None:
        self._home = home
        self._arguments = arguments
        self._stack = stack
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        stack.callback(self._end_processes)

    def run(self) -> None:
        """From an old system alone to AWS alone, with what goes wrong on the way."""
        say("An old system with its database, and three layers on a local AWS")
        self._old_system()
        self._deploy()
        say("The relay stands before the old system; providers send to it from now on")
        self._relay_files()
        self._start_relay()
        traffic = Traffic(self._port, self._keys, self._arguments.rate)
        traffic.start()
        self._stack.callback(traffic.end)
        time.sleep(3)
        say("Both get everything; then what the old database knows is brought over, under traffic")
        self._envmig("relay", "--config", "relay.toml", "mode", "parallel", "--why", "the demo begins")
        time.sleep(2)
        self._envmig("backfill", *self._source, "--checkpoint", "backfill.json")
        self._envmig("reconcile", *self._source, "--out", "reconcile-1.json")

        say("The cut-over begins. In the canary a bug writes an old status over a payment: it goes back by itself")
        self._cut_over(traffic, {5.0: self._bug}, expect=2)
        say("What the bug did is found and mended from the payments' events")
        self._envmig("reconcile", *self._source, "--out", "reconcile-2.json", expect=1)
        repair = ["--repair", "--apply", "--spool-of", "relay.toml"]
        self._envmig("reconcile", *self._source, *repair)

        say(f"Once more; AWS will stand still for {_OUTAGE_S} s at 25 %, and the relay be killed at 50 %")
        self._cut_over(traffic, {25.0: self._outage, 50.0: self._kill_relay}, "--again")
        say("AWS owns everything, the old system gets a copy. The providers fall silent; both are compared")
        traffic.end()
        self._settle()
        self._envmig("reconcile", *self._source, "--out", "reconcile-3.json")
        self._envmig("report", "new-key", "report.key")
        found = [option for n in (1, 2, 3) for option in ("--reconciliation", f"reconcile-{n}.json")]
        self._envmig("report", "--plan", "plan.toml", "--key", "report.key", "--out", "report", *found)
        self._envmig("report", "verify", "report", "--public-key", "report.key.pub")
        print(f"\n{traffic.acknowledged} webhooks acknowledged, {traffic.again} sent again, none lost.")
        print(f"The report: {self._home / 'report' / 'report.html'}")

    # The parts.

    def _old_system(self) -> None:
        if binaries() is not None:
            self._database = self._stack.enter_context(Postgres()).url
            kind = "PostgreSQL"
        else:
            self._database = f"sqlite:///{self._home / 'legacy.db'}"
            kind = "SQLite, for there is no PostgreSQL server here"
        ledger = Ledger(self._database)
        ledger.fill(self._arguments.payments, 1, datetime.now(UTC))
        ledger.close()
        write_mapping(self._home / "mapping.toml")
        self._legacy_port = free_port()
        self._start("legacy", [sys.executable, "-m", "demo.legacy", "--database", self._database,
                               "--port", str(self._legacy_port)], self._legacy_port)  # fmt: skip
        print(f"{self._arguments.payments} old payments in {kind}")

    def _deploy(self) -> None:
        # Not at once: a whole deployment sends a webhook past the relay, which the old system would lack.
        for layers in (("data", "security"), ("compute",)):
            subprocess.run(
                [ROOT / "scripts" / "deploy_all.sh", "local", *layers, "--suffix", SUFFIX],
                check=True, stdout=(self._home / "deploy.log").open("a"), stderr=subprocess.STDOUT,
            )  # fmt: skip
        deployment = Deployment.find("local", SUFFIX)
        secret = deployment.output("security", "api_keys_secret_arn")
        value = deployment.client("invoker", "secretsmanager").get_secret_value(SecretId=secret)
        self._keys: dict[str, Any] = json.loads(value["SecretString"])
        self._deployment = deployment
        print(f"data, security and compute are deployed under the suffix {SUFFIX}")

    def _relay_files(self) -> None:
        self._port, self._status_port = free_port(), free_port()
        self._status = f"http://127.0.0.1:{self._status_port}"
        self._source = ["--source", self._database, "--mapping", "mapping.toml", "--relay", self._status,
                        "--suffix", SUFFIX]  # fmt: skip
        new_key(self._home / "spool.key")
        local = self._deployment.outputs["local"]
        function = self._deployment.output("compute", "webhook_function_name")
        secret = self._deployment.output("security", "api_keys_secret_arn")
        (self._home / "relay.toml").write_text(
            f'name = "demo-host"\nenvironment = "{SUFFIX}"\nsalt = "demo"\n'
            f'[spool]\nfile = "spool.db"\nkey_file = "spool.key"\n[keys]\nsecret = "{secret}"\n'
            f'[legacy]\nurl = "http://127.0.0.1:{self._legacy_port}/webhooks"\n'
            f'[aws]\nfunction = "{function}"\nendpoint = "{local["endpoint"]}"\ntimeout_s = 3\nlongest_wait_s = 2\n'
            'at_once = 8\n[cutover]\nplan = "plan.toml"\n'
            f"[listen]\nport = {self._port}\nstatus_port = {self._status_port}\n"
        )
        steps = "".join(
            f"[[steps]]\npercent = {percent}\nleast_minutes = {self._arguments.seconds / 60}\nleast_events = 40\n"
            for percent in (0, 1, 5, 25, 50, 100)
        )
        (self._home / "plan.toml").write_text(
            f'suffix = "{SUFFIX}"\njournal = "cutover.jsonl"\nevery_s = 2\nno_data_minutes = 1\nsample = 40\n'
            f'source = "{self._database}"\nmapping = "mapping.toml"\n'
            f'[[relays]]\nstatus = "{self._status}"\nsettings = "relay.toml"\n'
            # The machine is small and everything is on it: slower than a real one, and patient with an outage.
            f"[gates]\nfailures = 8\np99_floor_ms = 5000\nlag_s = 30\nmismatches = 0.05\n{steps}"
        )

    def _start_relay(self) -> None:
        keys = self._deployment.outputs["local"]["invoker"]
        environment = {
            "AWS_ACCESS_KEY_ID": keys["access_key_id"], "AWS_SECRET_ACCESS_KEY": keys["secret_access_key"],
            "AWS_SESSION_TOKEN": keys["session_token"],
        }  # fmt: skip
        self._start("relay", [_ENVMIG, "relay", "--config", "relay.toml"], self._status_port, **environment)
        print(f"its status page: {self._status}")

    # What goes wrong.

    def _bug(self, traffic: Traffic) -> None:
        """Write to the table what no code of ours would: a payment's first status over its last."""
        provider, payment = next(each for each in reversed(traffic.payments) if each[0] == "stripe")
        local = self._deployment.outputs["local"]
        session = boto3.Session("test", "test", region_name=local["region"])
        table = self._deployment.output("data", "table_name")
        session.client("dynamodb", endpoint_url=local["endpoint"]).update_item(
            TableName=table,
            Key={"PK": {"S": payment_key(provider, "-", payment)}, "SK": {"S": "STATE"}},
            UpdateExpression="SET #status = :status, #version = :version",
            ExpressionAttributeNames={"#status": "status", "#version": "version"},
            ExpressionAttributeValues={":status": {"S": "authorised"}, ":version": {"S": f"{1:015d}#20#bug"}},
        )
        print(f"  !! a bug has set the payment {payment} back to authorised", flush=True)
        # Something more has to come for it, for the gates look at what came in.
        self._again(payment)

    def _again(self, payment: str) -> None:
        from migration.signing import sign  # noqa: PLC0415

        now = datetime.now(UTC)
        event = {
            "id": f"evt_after_{payment}", "object": "event", "type": "payment_intent.processing",
            "created": int(now.timestamp()), "livemode": False,
            "data": {"object": {"id": payment, "object": "payment_intent", "amount": 1, "currency": "eur"}},
        }  # fmt: skip
        signed = sign("stripe", json.dumps(event).encode(), self._keys["stripe"], now)
        request = urllib.request.Request(
            f"http://127.0.0.1:{self._port}/webhooks/stripe", signed.body, signed.headers
        )
        urllib.request.urlopen(request, timeout=10).close()  # noqa: S310

    def _outage(self, _: Traffic) -> None:
        process = Emulator(self._home).process_id
        print(f"  !! AWS stands still for {_OUTAGE_S} s", flush=True)
        os.kill(process, signal.SIGSTOP)
        try:
            time.sleep(_OUTAGE_S)
        finally:
            os.kill(process, signal.SIGCONT)
        print("  !! AWS is back", flush=True)

    def _kill_relay(self, _: Traffic) -> None:
        print("  !! the relay is killed with SIGKILL, and started again as systemd would", flush=True)
        self._processes["relay"].kill()
        self._processes["relay"].wait(10)
        self._start_relay()

    # The tools.

    def _cut_over(self, traffic: Traffic, mishaps: dict[float, Any], *options: str, expect: int = 0) -> None:
        """Run the controller, and let something go wrong when it comes to a share."""
        command = [_ENVMIG, "cutover", "run", "plan.toml", *options]
        print(f"$ envmig {' '.join(command[1:])}", flush=True)
        running = subprocess.Popen(command, cwd=self._home, stdout=subprocess.PIPE, text=True)
        assert running.stdout  # noqa: S101 (for the types)
        left = dict(mishaps)
        for line in running.stdout:
            print(f"  {line}", end="", flush=True)
            share = line.partition(" %")[0]
            if "advance" in line and float(share) in left:
                threading.Thread(target=left.pop(float(share)), args=(traffic,)).start()
        if running.wait() != expect:
            raise subprocess.CalledProcessError(running.returncode, command)

    def _settle(self) -> None:
        """Wait until both sides have everything."""
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            with urllib.request.urlopen(f"{self._status}/metrics") as answer:  # noqa: S310
                lines = answer.read().decode().splitlines()
            if all(line.endswith(" 0.0") for line in lines if line.startswith("envmig_relay_pending{")):
                return
            time.sleep(1)

    def _envmig(self, *words: str, expect: int = 0) -> None:
        print(f"$ envmig {' '.join(words)}", flush=True)
        ran = subprocess.run([_ENVMIG, *words], cwd=self._home, check=False)
        if ran.returncode != expect:
            raise subprocess.CalledProcessError(ran.returncode, [_ENVMIG, *words])

    def _start(self, name: str, command: list[str], port: int, **environment: str) -> None:
        log = (self._home / f"{name}.log").open("a")
        self._processes[name] = subprocess.Popen(
            command,
            cwd=self._home,
            env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
            stdout=log,
            stderr=log,
        )
        deadline = time.monotonic() + 60
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
            except OSError:
                if self._processes[name].poll() is not None or time.monotonic() > deadline:
                    sys.exit(f"error: {name} did not start; see {self._home / name}.log")
                time.sleep(0.1)
            else:
                return

    def _end_processes(self) -> None:
        for process in self._processes.values():
            process.terminate()
        for process in self._processes.values():
            process.wait(30)


def say(what: str) -> None:
    """A heading with the time since the beginning."""
    print(f"\n[{time.monotonic() - _BEGAN:5.0f} s] {what}\n", flush=True)


def free_port() -> int:
    """A port that nobody has now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    main()
