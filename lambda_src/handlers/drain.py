"""The drain function: stores what waits in the buffer, and what an operator replays from the dead letters.

It trusts the verification that each message carries: only the webhook's role can put one into the buffer.
"""

from __future__ import annotations

import os
import time
import traceback
from typing import TYPE_CHECKING, Any, NamedTuple

from adapters.aws_json import DYNAMODB, SQS, Client
from adapters.envelope import UnreadableEnvelopeError, decode
from adapters.queue import Queue, QueueUnavailableError
from adapters.table import Table
from handlers import REPLAY
from handlers.invocation import Invocation
from handlers.storing import REFUSED, UNAVAILABLE, Storing
from payments.cards import mask
from providers.errors import DeliveryError

if TYPE_CHECKING:
    from collections.abc import Mapping

_TIME_TO_END_S = 5.0
"""Kept back from the function's time-out for what must be said of the messages that are not stored."""
_TIME_FOR_ONE_S = 0.5
_TIME_FOR_QUEUE_S = 3.0


class Verdict(NamedTuple):
    """What became of one message."""

    stored: bool
    passing: bool
    """Whether another attempt may store it; a message that is not stored and does not pass is a dead letter."""
    reason: str
    line: dict[str, Any]


class Drain:
    """What the function needs to store messages."""

    def __init__(self, storing: Storing, buffer: Queue, dead_letters: Queue) -> None:
        self._storing = storing
        self._buffer = buffer
        self._dead_letters = dead_letters

    def take(self, record: Mapping[str, Any], deadline: float, told: Invocation) -> Verdict:
        """Store one message; whatever is wrong with it is its verdict, never an exception."""
        if time.monotonic() + _TIME_FOR_ONE_S >= deadline:
            return Verdict(stored=False, passing=True, reason="no time was left in this batch", line={})
        line: dict[str, Any] = {}
        try:
            verified = decode(record["body"])
            line = {"provider": verified.provider, "trace": verified.trace}
            with told.trace.step("read") as step:
                step.annotate(correlation=verified.trace, provider=verified.provider, linked=_linked(record))
                items = verified.items()
            results = self._storing.store(verified, items, deadline, told)
            told.tell_results(verified, results)
        except (UnreadableEnvelopeError, DeliveryError) as error:
            return Verdict(stored=False, passing=False, reason=str(error), line=line)
        except Exception as error:  # noqa: BLE001 (a message that breaks the code must not hold up the others)
            line["traceback"] = _safe(traceback.format_exc(limit=-5))
            return Verdict(stored=False, passing=False, reason=f"{type(error).__name__}: {error}", line=line)
        line["items"] = results
        # What the webhook refused in a batch was never acknowledged, and is not ours to keep.
        wrong = [result for result in results if "reason" in result and result["outcome"] != REFUSED]
        passing = any(result["outcome"] == UNAVAILABLE for result in wrong)
        return Verdict(not wrong, passing, str(wrong[0]["reason"]) if wrong else "", line)

    def settle(self, record: Mapping[str, Any], verdict: Verdict, deadline: float) -> bool:
        """See to it that a message which is not stored is not lost either; whether the queue may forget it."""
        try:
            if verdict.passing:
                receives = int(record["attributes"]["ApproximateReceiveCount"])
                self._buffer.back_off(record["receiptHandle"], receives, deadline)
                return False
            self._dead_letters.send(record["body"], deadline, reason=verdict.reason)
        except QueueUnavailableError as error:
            verdict.line["queue"] = str(error)
            return False
        return True


def _from_environment(environment: Mapping[str, str] = os.environ) -> Drain:
    table = Table(Client(DYNAMODB), environment["TABLE_NAME"], int(environment["INDEX_SHARDS"]))
    sqs = Client(SQS)
    return Drain(Storing(table), Queue(sqs, environment["BUFFER_URL"]), Queue(sqs, environment["DEAD_LETTERS_URL"]))


_drain = _from_environment()


def handler(event: Mapping[str, Any], context: Any) -> dict[str, Any]:
    """AWS Lambda's entry point for the buffer's messages, and for an operator's replay.

    A replay's answer gives the reason beside each message that is not stored, and nothing else is done about it.
    """
    told = Invocation("drain", "drained", context)
    failures: list[dict[str, str]] = []
    reasons: dict[str, str] = {}
    messages = []
    for record in event["Records"]:
        verdict = _drain.take(record, told.deadline - _TIME_TO_END_S, told)
        done = verdict.stored
        if not done and record.get("eventSource") == REPLAY:
            reasons[record["messageId"]] = _safe(verdict.reason)
        elif not done:
            told.metrics.add("Waiting" if verdict.passing else "DeadLetters")
            done = _drain.settle(record, verdict, time.monotonic() + _TIME_FOR_QUEUE_S)
        if not done:
            failures.append({"itemIdentifier": record["messageId"]})
        messages.append(
            {
                "messageId": record["messageId"],
                "receives": int(record.get("attributes", {}).get("ApproximateReceiveCount", 1)),
                "outcome": "stored" if verdict.stored else "waiting" if verdict.passing else "dead letter",
                **({"problem": _safe(verdict.reason)} if verdict.reason else {}),
                **verdict.line,
            }
        )
    outcomes = {message["outcome"] for message in messages}
    told.line |= {
        "level": "ERROR" if "dead letter" in outcomes else "WARN" if "waiting" in outcomes else "INFO",
        "messages": messages,
    }
    told.end()
    return {"batchItemFailures": failures, **({"reasons": reasons} if reasons else {})}


def _linked(record: Mapping[str, Any]) -> str | None:
    """The trace of the invocation that sent the message."""
    header = str(record.get("attributes", {}).get("AWSTraceHeader", ""))
    return dict(part.partition("=")[::2] for part in header.split(";")).get("Root")


def _safe(reason: str) -> str:
    """A reason without a card number that an error's text may have picked up from a body."""
    return mask(reason.encode())[0].decode()
