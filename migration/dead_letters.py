"""The dead letters: looking at them, and replaying them through the drain, which trusts what verified them."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from adapters.envelope import UnreadableEnvelopeError, decode
from handlers import REPLAY
from payments.cards import mask
from providers.errors import DeliveryError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from migration.deployment import Deployment

RETENTION = timedelta(days=14)
"""How long a dead letter is kept; the data layer's buffer.py says so too."""

_AT_ONCE = 10
_HIDDEN_S = 120


class ReplayFailedError(Exception):
    """The drain itself failed; the message says how."""


class DeadLetter(NamedTuple):
    """One message, and when it came into the queue."""

    id: str
    body: str
    receipt_handle: str
    reason: str
    since: datetime

    @property
    def expires(self) -> datetime:
        """When the queue drops it for good."""
        return self.since + RETENTION

    def told(self) -> dict[str, Any]:
        """What the message says of itself, without a card number."""
        told: dict[str, Any] = {
            "id": self.id,
            "since": self.since.isoformat(timespec="seconds"),
            "expires": self.expires.isoformat(timespec="seconds"),
            "reason": self.reason,
        }
        try:
            verified = decode(self.body)
            told |= {
                "provider": verified.provider,
                "received_at": verified.received_at.isoformat(timespec="milliseconds"),
                "trace": verified.trace,
                "body_sha256": verified.body_sha256,
                "headers": sorted(verified.headers),
                "body": mask(verified.body)[0].decode("utf-8", "replace"),
            }
            told["events"] = [item.event.id if item.event else str(item.refusal) for item in verified.items()]
        except (UnreadableEnvelopeError, DeliveryError) as error:
            told["unreadable"] = str(error)
        return told


class Outcome(NamedTuple):
    """What became of one replayed message: stored when there is no reason."""

    letter: DeadLetter
    reason: str | None


class DeadLetters:
    """The dead-letter queue of one deployment, with the operator's rights."""

    def __init__(self, deployment: Deployment) -> None:
        self._sqs = deployment.client("operator", "sqs")
        self._lambda = deployment.client("operator", "lambda")
        self._url = deployment.output("data", "dead_letters_url")
        self._drain = deployment.output("compute", "drain_function_name")

    def peek(self, limit: int) -> list[DeadLetter]:
        """Up to so many messages; all of them are visible again afterwards."""
        seen: dict[str, DeadLetter] = {}
        try:
            while len(seen) < limit:
                received = self._receive(min(_AT_ONCE, limit - len(seen)))
                fresh = {letter.id: letter for letter in received if letter.id not in seen}
                seen |= fresh
                if not fresh:
                    break
        finally:
            for letter in seen.values():
                self._show(letter)
        return sorted(seen.values(), key=lambda letter: letter.since)

    def replay(self, per_second: float, only: str | None = None) -> Iterator[Outcome]:
        """Send every message, or one, through the drain, and delete what it has stored.

        What is not stored stays in the queue, and so does all that was not reached when this is cut off:
        run it again. A message that is replayed twice is a duplicate to the table.

        Raises
        ------
        ReplayFailedError
            The drain itself failed.
        """
        seen: set[str] = set()
        left: list[DeadLetter] = []
        try:
            while True:
                fresh = [letter for letter in self._receive(_AT_ONCE) if letter.id not in seen]
                if not fresh:
                    return
                seen |= {letter.id for letter in fresh}
                chosen = [letter for letter in fresh if only in {None, letter.id}]
                left += [letter for letter in fresh if letter not in chosen]
                began = time.monotonic()
                for outcome in self._through_the_drain(chosen):
                    if outcome.reason:
                        left.append(outcome.letter)
                    yield outcome
                if only and chosen:
                    return
                time.sleep(max(0.0, len(chosen) / per_second - (time.monotonic() - began)))
        finally:
            for letter in left:
                self._show(letter)

    def _through_the_drain(self, letters: list[DeadLetter]) -> Iterator[Outcome]:
        if not letters:
            return
        records = [{"messageId": letter.id, "body": letter.body, "eventSource": REPLAY} for letter in letters]
        answer = self._lambda.invoke(FunctionName=self._drain, Payload=json.dumps({"Records": records}).encode())
        told = json.loads(answer["Payload"].read())
        if "FunctionError" in answer:
            for letter in letters:
                self._show(letter)
            raise ReplayFailedError(f"{self._drain} failed: {told.get('errorMessage', told)}")
        failed = {failure["itemIdentifier"] for failure in told["batchItemFailures"]}
        for letter in letters:
            if letter.id in failed:
                yield Outcome(letter, told.get("reasons", {}).get(letter.id) or "no reason was given")
            else:
                self._sqs.delete_message(QueueUrl=self._url, ReceiptHandle=letter.receipt_handle)
                yield Outcome(letter, None)

    def _receive(self, count: int) -> list[DeadLetter]:
        answer = self._sqs.receive_message(
            QueueUrl=self._url,
            MaxNumberOfMessages=count,
            VisibilityTimeout=_HIDDEN_S,
            WaitTimeSeconds=1,
            MessageSystemAttributeNames=["SentTimestamp"],
            MessageAttributeNames=["reason"],
        )
        return [
            DeadLetter(
                id=message["MessageId"],
                body=message["Body"],
                receipt_handle=message["ReceiptHandle"],
                reason=message.get("MessageAttributes", {}).get("reason", {}).get("StringValue", _GAVE_UP),
                since=datetime.fromtimestamp(int(message["Attributes"]["SentTimestamp"]) / 1000, UTC),
            )
            for message in answer.get("Messages", [])
        ]

    def _show(self, letter: DeadLetter) -> None:
        self._sqs.change_message_visibility(
            QueueUrl=self._url, ReceiptHandle=letter.receipt_handle, VisibilityTimeout=0
        )


_GAVE_UP = "the drain failed again and again without a word"
