"""What a relay is measured beside and before: a server that stores nothing, which is also a target that takes all.

Usage: python -m bench.relay_servers PORT
"""

from __future__ import annotations

import sys
from typing import Any

import uvicorn


async def bare(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Read the body and answer."""
    if scope["type"] != "http":
        return
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
    await send({"type": "http.response.body", "body": b'{"outcome":"accepted"}'})


if __name__ == "__main__":
    uvicorn.run(
        bare, port=int(sys.argv[1]), log_level="warning", access_log=False, lifespan="off", server_header=False
    )
