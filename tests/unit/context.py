"""What Lambda hands to a handler beside the event."""

from __future__ import annotations


class Context:
    aws_request_id = "request"

    @staticmethod
    def get_remaining_time_in_millis() -> int:
        return 4000
