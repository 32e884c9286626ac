"""The queues: the buffer before the table, and the dead letters."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from adapters.aws_json import AwsError

if TYPE_CHECKING:
    from adapters.aws_json import Client

_FIRST_WAIT_S = 10
_LONGEST_WAIT_S = 900


class QueueUnavailableError(Exception):
    """A queue did not take a message in the time there was."""


class Queue:
    """One queue."""

    def __init__(self, client: Client, url: str) -> None:
        self._client = client
        self._url = url

    def send(self, message: str, deadline: float, *, reason: str | None = None, trace: str | None = None) -> None:
        """Put a message into the queue, with the reason why it is there and the X-Ray trace that it belongs to.

        Raises
        ------
        QueueUnavailableError
            The queue refused or was out of reach until the deadline (on the monotonic clock, in seconds).
        """
        request: dict[str, object] = {"QueueUrl": self._url, "MessageBody": message}
        if reason:
            request["MessageAttributes"] = {"reason": {"DataType": "String", "StringValue": reason[:1000]}}
        if trace:
            request["MessageSystemAttributes"] = {"AWSTraceHeader": {"DataType": "String", "StringValue": trace}}
        try:
            self._client.call("SendMessage", request, deadline)
        except AwsError as error:
            raise QueueUnavailableError(str(error)) from error

    def back_off(self, receipt_handle: str, receives: int, deadline: float) -> None:
        """Hide a received message for a while, longer with every receive, so that an outage does not use them up.

        Raises
        ------
        QueueUnavailableError
            It stays hidden for as long as the queue hides every message.
        """
        longest = min(_LONGEST_WAIT_S, _FIRST_WAIT_S * 2 ** min(receives - 1, 10))
        hidden = random.randint(longest // 2, longest)  # noqa: S311
        request = {"QueueUrl": self._url, "ReceiptHandle": receipt_handle, "VisibilityTimeout": hidden}
        try:
            self._client.call("ChangeMessageVisibility", request, deadline)
        except AwsError as error:
            raise QueueUnavailableError(str(error)) from error
