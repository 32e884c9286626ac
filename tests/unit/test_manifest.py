"""What a relay says that it acknowledged: read exactly, or refused with the reason."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from payments.manifest import MalformedManifestError, parse_manifest

GOOD: dict[str, Any] = {
    "relay": "host-1", "from": "2026-11-23T10:00:00Z", "until": "2026-11-23T11:05:00+01:00", "part": 1, "parts": 2,
    "events": ["EVT#stripe#-#evt_1", "EVT#adyen#Shop#CAPTURE:X:true"],
}  # fmt: skip


def test_it_is_read() -> None:
    manifest = parse_manifest(json.dumps(GOOD).encode())
    assert manifest.until == datetime(2026, 11, 23, 10, 5, tzinfo=UTC)
    assert manifest.events == tuple(GOOD["events"])
    assert manifest.place == "2026-11-23T10:05:00.000+00:00#host-1#2026-11-23T10:00:00.000+00:00#00001"


@pytest.mark.parametrize(
    "change",
    [
        {"relay": ""}, {"relay": "a#b"}, {"relay": 1}, {"relay": "x" * 65}, {"from": "soon"}, {"from": 1},
        {"from": "2026-11-23T10:00:00"}, {"until": "2026-11-23T10:00:00Z"}, {"until": "2026-11-25T10:00:00Z"},
        {"part": 0}, {"part": 3}, {"part": True}, {"part": 1.0}, {"parts": "2"}, {"events": ["PAY#x"]},
        {"events": [1]}, {"events": 1}, {"events": [f"EVT#{'x' * 3000}"]},
    ],
)  # fmt: skip
def test_what_is_none_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(MalformedManifestError):
        parse_manifest(json.dumps({**GOOD, **change}).encode())


@given(body=st.binary(max_size=200))
def test_arbitrary_bytes_are_refused(body: bytes) -> None:
    with pytest.raises(MalformedManifestError):
        parse_manifest(body)
