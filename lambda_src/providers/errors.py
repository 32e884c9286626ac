"""Why a delivery is not taken."""

from __future__ import annotations


class DeliveryError(Exception):
    """A delivery, or one item of it, cannot be taken; the message says why and holds nothing secret."""


class UnknownProviderError(DeliveryError):
    """The path names no provider."""

    def __init__(self, name: str, known: tuple[str, ...]) -> None:
        super().__init__(f"there is no provider {name[:40]!r}; known are {', '.join(sorted(known))}")


class NotAuthenticError(DeliveryError):
    """The signature does not vouch for the delivery."""


class MalformedDeliveryError(DeliveryError):
    """The body is not what the provider sends."""


class KeysUnavailableError(Exception):
    """The keys to verify with cannot be had at present: no fault of the sender's, who should send again."""
