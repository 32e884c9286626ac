"""Card numbers in a body: found by what makes one plausible, and masked before the body is kept.

No provider sends whole card numbers, so one that appears was put there by a merchant or a shopper, in a free field.
The wire keeps exact bytes; what is kept at rest does not hold the number. PCI DSS 4.0, requirement 3.4, lets the
first six and the last four digits be seen.
"""

from __future__ import annotations

import re

_CANDIDATE = re.compile(rb"(?<![\w+./])\d(?:[ -]?\d){12,}(?!\w)")
_AS_DIGITS = bytes(ord("0") if chr(code) in "0123456789 -" else ord("x") for code in range(256))
_SHORTEST = b"0" * 13
"""Bodies without so long a run of digits and separators, as nearly all are, need no closer look."""

_SEPARATOR = re.compile(rb"[ -]")

_KEY = re.compile(rb'"([^"\\]{1,64})"\s*:\s*"?[^"{}\[\],]*\Z')
_ID_FIELD = re.compile(
    rb"(?:\A|[_-])(?:ids?|ref|reference|token|fingerprint)\Z|[a-z](?:Ids?|ID|Ref|Reference|Token|Fingerprint)\Z",
)
_NUMBER = re.compile(rb"[:\[,]\s*\Z")
_LOOK_BACK = 160

_FEWEST, _MOST = 13, 19
_SHOWN_FIRST, _SHOWN_LAST = 6, 4


def mask(body: bytes) -> tuple[bytes, int]:
    """The body with its card numbers masked, as long as it was, and how many there were.

    In a text the middle digits become asterisks; in a bare JSON number they become zeros, for it must stay one.
    A number in a field for ids is none: what a provider calls an id has to stay what it is.
    """
    if _SHORTEST not in body.translate(_AS_DIGITS):
        return body, 0
    pieces: list[bytes] = []
    done = count = 0
    for candidate in _CANDIDATE.finditer(body):
        if _is_an_id(body, candidate.start()):
            continue
        for start, end in _cards(candidate.group()):
            first, last = candidate.start() + start, candidate.start() + end
            filler = b"0" if _NUMBER.search(body, max(0, first - 8), first) else b"*"
            pieces += [body[done:first], _masked(body[first:last], filler)]
            done = last
            count += 1
    return (b"".join([*pieces, body[done:]]), count) if count else (body, 0)


def _is_an_id(body: bytes, start: int) -> bool:
    key = _KEY.search(body, max(0, start - _LOOK_BACK), start)
    return bool(key and _ID_FIELD.search(key.group(1)))


def _cards(candidate: bytes) -> list[tuple[int, int]]:
    """Where card numbers are in a run of digits, spaces and hyphens: each from one group's start to a group's end."""
    gaps = [gap.start() for gap in _SEPARATOR.finditer(candidate)]
    found: list[tuple[int, int]] = []
    for start in (0, *(gap + 1 for gap in gaps)):
        if found and start < found[-1][1]:
            continue
        for end in (len(candidate), *reversed(gaps)):
            digits = _SEPARATOR.sub(b"", candidate[start:end]).decode()
            if end > start and _FEWEST <= len(digits) <= _MOST and _is_plausible(digits) and _passes_luhn(digits):
                found.append((start, end))
                break
    return found


def _is_plausible(digits: str) -> bool:
    """Whether the leading digits and the length are those of a card scheme (ISO/IEC 7812)."""
    length, two, four = len(digits), int(digits[:2]), int(digits[:4])
    return (
        (digits[0] == "4" and length in {13, 16, 19})
        or ((51 <= two <= 55 or 2221 <= four <= 2720) and length == 16)  # noqa: PLR2004
        or (two in {34, 37} and length == 15)  # noqa: PLR2004
        or (two in {30, 36, 38, 39} and length >= 14)  # noqa: PLR2004
        or (two in {35, 60, 62, 64, 65} and length >= 16)  # noqa: PLR2004
        or two in {50, 56, 57, 58, 63, 67}
    )


def _passes_luhn(digits: str) -> bool:
    """ISO/IEC 7812-1, annex B."""
    doubled = (sum(divmod(2 * int(digit), 10)) for digit in digits[-2::-2])
    return (sum(doubled) + sum(int(digit) for digit in digits[-1::-2])) % 10 == 0


def _masked(number: bytes, filler: bytes) -> bytes:
    places = [place for place, digit in enumerate(number) if digit not in b" -"]
    hidden = set(places[_SHOWN_FIRST:-_SHOWN_LAST])
    return b"".join(filler if place in hidden else number[place : place + 1] for place in range(len(number)))
