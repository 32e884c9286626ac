"""X-Ray subsegments: one a step of an invocation, sent to the daemon over UDP.

The X-Ray SDK for Python does the same and much more, and would double the cold start; docs/decisions/0008 weighs it.
Format: https://docs.aws.amazon.com/xray/latest/devguide/xray-api-segmentdocuments.html
Daemon: https://docs.aws.amazon.com/xray/latest/devguide/xray-api-sendingdata.html#xray-api-daemon
"""

from __future__ import annotations

import json
import os
import socket
import time
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
        self._id = os.urandom(8).hex()
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

    def document(self, trace_id: str, parent_id: str, annotations: Mapping[str, Any]) -> dict[str, Any]:
        """The step as X-Ray takes it."""
        document: dict[str, Any] = {
            "name": self.name,
            "id": self._id,
            "trace_id": trace_id,
            "parent_id": parent_id,
            "type": "subsegment",
            "start_time": self._started_at,
            "end_time": self._started_at + self.duration_s,
            "annotations": {**annotations, **self._annotations},
        }
        if self._cause:
            kind = type(self._cause).__name__ if isinstance(self._cause, BaseException) else "Error"
            exception = {"id": os.urandom(8).hex(), "type": kind, "message": str(self._cause)[:500]}
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
        self._parent = parts.get("Parent") or os.urandom(8).hex()
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
        documents = [step.document(self.id, self._parent, self._annotations) for step in self._steps]
        if self._own_segment:
            documents.append(
                {
                    "name": self._function,
                    "id": self._parent,
                    "trace_id": self.id,
                    "start_time": self._started_at,
                    "end_time": time.time(),
                    "origin": "AWS::Lambda::Function",
                    "annotations": self._annotations,
                }
            )
        host, _, port = self._daemon.rpartition(":")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as wire:
            wire.setblocking(False)  # noqa: FBT003 (the socket's own signature)
            for document in documents:
                datagram = _HEADER + json.dumps(document).encode()
                if len(datagram) <= _LARGEST:
                    try:
                        wire.sendto(datagram, (host, int(port)))
                    except OSError:
                        return
