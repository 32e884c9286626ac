"""Amounts in integer minor units. Never a float."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

# ISO 4217, list one, published by SIX: the currencies whose minor unit is not a hundredth.
# https://www.six-group.com/en/products-services/financial-information/data-standards.html
_EXPONENTS = {
    **dict.fromkeys(
        [
            "BIF",
            "CLP",
            "DJF",
            "GNF",
            "ISK",
            "JPY",
            "KMF",
            "KRW",
            "PYG",
            "RWF",
            "UGX",
            "UYI",
            "VND",
            "VUV",
            "XAF",
            "XOF",
            "XPF",
        ],
        0,
    ),
    **dict.fromkeys(["BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"], 3),
    **dict.fromkeys(["CLF", "UYW"], 4),
}
_USUAL_EXPONENT = 2


class Money(NamedTuple):
    """A signed amount in ISO 4217 minor units."""

    minor_units: int
    currency: str
    """Three upper-case letters."""


class UnreadableAmountError(ValueError):
    """What a provider sent as an amount is none; the message says why."""


def read_minor_units(amount: Any, currency: Any, exponents: Mapping[str, int] | None = None) -> Money:
    """Read an amount that a provider gives in minor units of its own.

    Parameters
    ----------
    amount
        A whole number of the provider's minor units.
    currency
        The currency's code, in any case.
    exponents
        The provider's exponents where they differ from ISO 4217.

    Raises
    ------
    UnreadableAmountError
        The amount is no whole number, the currency no code, or the amount no whole number of ISO minor units.
    """
    if not isinstance(amount, int) or isinstance(amount, bool):
        raise UnreadableAmountError(f"the amount is {type(amount).__name__}, not a whole number of minor units")
    code = _code(currency)
    iso = _EXPONENTS.get(code, _USUAL_EXPONENT)
    shift = (exponents or {}).get(code, iso) - iso
    if shift <= 0:
        return Money(amount * 10**-shift, code)
    whole, rest = divmod(amount, 10**shift)
    if rest:
        raise UnreadableAmountError(f"the amount in {code} is no whole number of ISO 4217 minor units")
    return Money(whole, code)


def read_decimal(amount: Any, currency: Any) -> Money:
    """Read an amount that a provider writes as a decimal text in major units, such as "12.30".

    Raises
    ------
    UnreadableAmountError
        The amount is no such text, the currency no code, or the amount no whole number of ISO minor units.
    """
    text = amount if isinstance(amount, str) and amount.isascii() and len(amount) <= _LONGEST_AMOUNT else ""
    sign = -1 if text.startswith("-") else 1
    whole, point, fraction = text.removeprefix("-").partition(".")
    if not whole.isdecimal() or (point and not fraction.isdecimal()):
        raise UnreadableAmountError("the amount is not a decimal number in a text")
    code = _code(currency)
    exponent = _EXPONENTS.get(code, _USUAL_EXPONENT)
    fraction = fraction.ljust(exponent, "0")
    if fraction[exponent:].strip("0"):
        raise UnreadableAmountError(f"the amount in {code} is no whole number of ISO 4217 minor units")
    return Money(sign * int(whole + fraction[:exponent]), code)


def _code(currency: Any) -> str:
    if not isinstance(currency, str) or len(currency) != 3 or not (currency.isascii() and currency.isalpha()):  # noqa: PLR2004
        raise UnreadableAmountError("the currency is not a code of three letters")
    return currency.upper()


_LONGEST_AMOUNT = 40
