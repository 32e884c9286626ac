"""The relay's status page in a real browser: what a person reads there is what is so."""

from __future__ import annotations

import re
import secrets
import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest

from migration.cutover.gates import Position
from migration.cutover.journal import LOOKED, Journal, told
from tests.e2e.client import System, wait_for
from tests.e2e.relays import Legacy, Relay
from tests.e2e.test_relay import charge
from tests.unit.test_cutover import GOOD

BROWSER = shutil.which("chromium") or shutil.which("google-chrome")

pytestmark = pytest.mark.skipif(
    BROWSER is None, reason="no Chromium on the PATH (on Debian: apt-get install chromium)"
)


def rendered(relay: Relay, folder: Path, *more: str) -> str:
    """The page's document after its scripts have run for some seconds of the browser's own time."""
    command = [
        str(BROWSER), "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
        f"--user-data-dir={folder / 'profile'}", "--virtual-time-budget=5000", *more,
        f"http://127.0.0.1:{relay.status_port}/",
    ]  # fmt: skip
    ran = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def text(document: str) -> str:
    """What a person reads."""
    return " ".join(re.sub(r"<(style|script).*?</\1>|<[^>]+>", " ", document, flags=re.DOTALL).split())


def test_it_shows_what_a_person_needs(system: System, tmp_path: Path) -> None:
    with Legacy(lambda _provider, body: 422 if b"refuse" in body else 200) as legacy:
        relay = Relay(system, tmp_path, legacy.url, cutover__plan="plan.toml")
        (tmp_path / "plan.toml").write_text(
            'journal = "j"\n[[relays]]\nstatus = "http://127.0.0.1:1"\nsettings = "relay.toml"'
        )
        now = datetime.now(UTC)
        Journal(tmp_path / "j").write(
            LOOKED, action="stay", why="tries <failed>", percent=1, numbers=GOOD._replace(failed=100)._asdict(),
            position=told(Position(1, now, 500, 1, now)),
        )  # fmt: skip
        with relay:
            relay.mode("canary", "--percent", "5", "--who", "ann", "--why", "first <step>")
            for payment in (f"pi_{secrets.token_hex(8)}", f"pi_refuse{secrets.token_hex(4)}"):
                assert relay.post("stripe", *charge(system, payment)[0])[0] == 200
            wait_for(lambda: "envmig_relay_mismatches_total 1.0" in relay.get("/metrics")[1])
            wait_for(lambda: "will not take 1 requests" in relay.get("/readyz")[1])
            document = rendered(relay, tmp_path, "--dump-dom")
            shown = text(document)
            assert "host-1 relay of e2e" in shown
            assert "canary 5 % epoch 2" in shown
            assert "legacy will not take 1 requests as they are: envmig relay parked legacy" in shown
            assert re.search(r"legacy closed 0 0\.0 1 aws closed 0 0\.0 0", shown)
            assert "Requests that one target took and the other never will: 1" in shown
            assert "running at 1 % since" in shown
            assert "tries failed 20.0% 1.0% does not hold" in shown
            assert "lost 0 0 holds" in shown
            # What somebody wrote is text, never markup.
            assert "tries &lt;failed&gt;" in shown
            assert "ann first &lt;step&gt;" in shown
            assert len(re.findall(r'<polyline points="[\d., ]+"', document)) == 8

            rendered(relay, tmp_path, f"--screenshot={tmp_path / 'page.png'}", "--window-size=1200,1200")
            assert (tmp_path / "page.png").read_bytes().startswith(b"\x89PNG")


def test_nothing_can_be_changed_there(system: System, tmp_path: Path) -> None:
    from http.client import HTTPConnection

    with Legacy() as legacy, Relay(system, tmp_path, legacy.url) as relay:
        for method in ("POST", "PUT", "DELETE", "PATCH"):
            for path in ("/", "/healthz", "/readyz", "/metrics"):
                connection = HTTPConnection("127.0.0.1", relay.status_port, timeout=5)
                connection.request(method, path)
                assert connection.getresponse().status == 405
                connection.close()
