"""AWS Signature Version 4 for one request, written out: importing botocore for it would cost half a second cold.

https://docs.aws.amazon.com/IAM/latest/UserGuide/create-signed-request.html
"""

from __future__ import annotations

import hashlib
import hmac
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime


class Credentials(NamedTuple):
    """Who signs."""

    access_key_id: str
    secret_access_key: str
    session_token: str | None = None

    def __repr__(self) -> str:
        return f"Credentials({self.access_key_id!r})"


def signed_headers(
    headers: Mapping[str, str],
    body: bytes,
    *,
    service: str,
    region: str,
    credentials: Credentials,
    at: datetime,
    path: str = "/",
) -> dict[str, str]:
    """The headers of a POST to a path with its signature added.

    Parameters
    ----------
    headers
        All headers to sign, `host` among them, by lower-case name.
    at
        The time of signing, in UTC; AWS takes the signature for some minutes.
    path
        Of letters that need no encoding, and without a query.
    """
    stamp = at.strftime("%Y%m%dT%H%M%SZ")
    signing = {**headers, "x-amz-date": stamp}
    if credentials.session_token:
        signing["x-amz-security-token"] = credentials.session_token
    names = sorted(signing)
    listed = ";".join(names)
    canonical = "\n".join(
        [
            "POST",
            path,
            "",
            *(f"{name}:{' '.join(signing[name].split())}" for name in names),
            "",
            listed,
            hashlib.sha256(body).hexdigest(),
        ]
    )
    scope = f"{stamp[:8]}/{region}/{service}/aws4_request"
    to_sign = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    signature = hmac.digest(_key(credentials.secret_access_key, scope), to_sign.encode(), "sha256")
    signing["authorization"] = (
        f"AWS4-HMAC-SHA256 Credential={credentials.access_key_id}/{scope}, "
        f"SignedHeaders={listed}, Signature={signature.hex()}"
    )
    return signing


@lru_cache(maxsize=8)
def _key(secret: str, scope: str) -> bytes:
    """The key of a day, a region and a service: the same for every request of that day."""
    key = f"AWS4{secret}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    return key
