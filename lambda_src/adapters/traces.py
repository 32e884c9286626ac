"""X-Ray subsegments: one an invocation, with one a step within it, sent to the daemon over UDP.

The X-Ray SDK for Python does the same and much more, and would double the cold start; docs/decisions/0008 weighs it.
Format: https://docs.aws.amazon.com/xray/latest/devguide/xray-api-segmentdocuments.html
Daemon: https://docs.aws.amazon.com/xray/latest/devguide/xray-api-sendingdata.html#xray-api-daemon
"""

from __future__ import annotations

import json
import os
import random
import socket
import time
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType
    from typing import Self

_HEADER = b'{"format": "json", "version": 1}\n'
_LARGEST = 60_000
"""Bytes: a datagram holds less than 64 KB."""


class Step:
    """One step of an invocation, from entering to leaving its block; an exception makes it a fault."""

    __slots__ = ("_annotations", "_began", "_cause", "_id", "_started_at", "duration_s", "name")

    def __init__(self, name: str) -> None:
        self.name = name
        self.duration_s = 0.0
        self._id = _new_id()
        self._annotations: dict[str, str | int | float | bool] = {}
        self._cause: BaseException | str | None = None
        self._started_at = time.time()
        self._began = time.monotonic()

    def annotate(self, **values: str | float | bool | None) -> None:
        """Add what the step can be found by; None is left out."""
        self._annotations |= {name: value for name, value in values.items() if value is not None}

    def fail(self, cause: BaseException | str) -> None:
        """Mark the step as a fault with its cause, where no exception leaves it."""
        self._cause = cause

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.duration_s = time.monotonic() - self._began
        self._cause = self._cause or error

    def document(self, annotations: Mapping[str, Any]) -> dict[str, Any]:
        """The step as X-Ray takes it within another."""
        document: dict[str, Any] = {
            "name": self.name,
            "id": self._id,
            "start_time": self._started_at,
            "end_time": self._started_at + self.duration_s,
            "annotations": {**annotations, **self._annotations},
        }
        if self._cause:
            kind = type(self._cause).__name__ if isinstance(self._cause, BaseException) else "Error"
            exception = {"id": _new_id(), "type": kind, "message": str(self._cause)[:500]}
            document |= {"fault": True, "cause": {"exceptions": [exception]}}
        return document


class Trace:
    """The steps of one invocation, under the segment that Lambda makes for it."""

    def __init__(self, function: str, environment: Mapping[str, str] = os.environ) -> None:
        parts = dict(part.partition("=")[::2] for part in environment.get("_X_AMZN_TRACE_ID", "").split(";"))
        self._function = function
        self._started_at = time.time()
        # Where nobody made a segment, as under an emulator, the invocation is its own.
        self._own_segment = "Root" not in parts
        self.id = parts.get("Root") or f"1-{int(self._started_at):08x}-{os.urandom(12).hex()}"
        self._id = _new_id()
        self._parent = parts.get("Parent") or self._id
        self._sampled = parts.get("Sampled", "1") == "1"
        self._daemon = environment.get("AWS_XRAY_DAEMON_ADDRESS", "")
        self._steps: list[Step] = []
        self._annotations: dict[str, str | int | float | bool] = {}

    @property
    def header(self) -> str:
        """The trace as it is passed on, such as in a message's AWSTraceHeader."""
        return f"Root={self.id};Parent={self._parent};Sampled={int(self._sampled)}"

    def step(self, name: str) -> Step:
        """Begin a step, to be used as a context manager."""
        step = Step(name)
        self._steps.append(step)
        return step

    def annotate(self, **values: str | float | bool | None) -> None:
        """Add what every step of the invocation can be found by; None is left out."""
        self._annotations |= {name: value for name, value in values.items() if value is not None}

    def milliseconds(self) -> dict[str, float]:
        """How long the steps took, by name; those of one name together."""
        sums: dict[str, float] = {}
        for step in self._steps:
            sums[step.name] = sums.get(step.name, 0.0) + step.duration_s * 1000
        return {name: round(value, 2) for name, value in sums.items()}

    def send(self) -> None:
        """Send what was traced to the daemon; a daemon that is not there costs nothing but the trace."""
        if not self._sampled or not self._daemon:
            return
        steps = [step.document(self._annotations) for step in self._steps]
        whole = self._whole()
        datagrams = [_datagram({**whole, "subsegments": steps})]
        if len(datagrams[0]) > _LARGEST:
            within = {"trace_id": self.id, "parent_id": whole["id"], "type": "subsegment"}
            datagrams = [_datagram(each) for each in (whole, *({**step, **within} for step in steps))]
        host, _, port = self._daemon.rpartition(":")
        for datagram in datagrams:
            if len(datagram) <= _LARGEST:
                try:
                    _wire().sendto(datagram, (host, int(port)))
                except OSError:
                    return

    def _whole(self) -> dict[str, Any]:
        """The invocation: under the segment that Lambda made for it, or as the segment."""
        whole: dict[str, Any] = {
            "name": self._function,
            "id": self._id,
            "trace_id": self.id,
            "start_time": self._started_at,
            "end_time": time.time(),
            "annotations": self._annotations,
        }
        if self._own_segment:
            return {**whole, "origin": "AWS::Lambda::Function"}
        return {**whole, "parent_id": self._parent, "type": "subsegment"}


@cache
def _wire() -> socket.socket:
    """The socket to the daemon: one for as long as the environment lives."""
    wire = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    wire.setblocking(False)  # noqa: FBT003 (the socket's own signature)
    return wire


def _new_id() -> str:
    """An id that is unique within its trace; it guards nothing."""
    return f"{random.getrandbits(64):016x}"


def _datagram(document: Mapping[str, Any]) -> bytes:
    return _HEADER + json.dumps(document, separators=(",", ":")).encode()
