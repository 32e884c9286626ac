"""Payment providers: how each signs its webhooks, and what its events mean. One module a provider."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from providers.errors import UnknownProviderError

if TYPE_CHECKING:
    from providers.base import Provider

_MODULES = {
    "adyen": "providers.adyen",
    "adyen-platforms": "providers.adyen_platforms",
    "braintree": "providers.braintree",
    "checkout": "providers.checkout",
    "gocardless": "providers.gocardless",
    "mollie": "providers.mollie",
    "paypal": "providers.paypal",
    "paystack": "providers.paystack",
    "plaid": "providers.plaid",
    "razorpay": "providers.razorpay",
    "shopify": "providers.shopify",
    "square": "providers.square",
    "standard": "providers.standard",
    "stripe": "providers.stripe",
}
"""The module of each provider by the name in the webhook's path."""

NAMES = tuple(_MODULES)


def load(name: str) -> Provider:
    """The provider of that name, imported when it is first asked for, or UnknownProviderError."""
    if name not in _MODULES:
        raise UnknownProviderError(name, NAMES)
    provider: Provider = import_module(_MODULES[name])
    return provider
