"""The end of a whole deployment: on local one real webhook, and what a person needs next."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from migration import lookup
from migration.deployment import Deployment
from migration.samples import sample
from migration.send import send_patiently
from scripts.layers.target import ORDER, LayerError

if TYPE_CHECKING:
    from scripts.layers.target import Target

_PROVIDER = "stripe"


def say_what_is_next(target: Target, suffix: str) -> None:
    """Prove that the way through works (on local), and say how to go on."""
    outputs = {layer: target.outputs(layer) or {} for layer in ORDER}
    payment = None
    if target.name == "local":
        payment = _send_and_read_back(Deployment(target.name, suffix, {**outputs, **target.extra_outputs()}))
    option = "" if suffix == "prod" else f" --suffix {suffix}"
    tool = f".venv/bin/envmig %s --target {target.name}{option}"
    print(f"\nfunction URL  {outputs['compute']['function_url']}")
    print(f"table ARN     {outputs['data']['table_arn']}")
    print(f"send another  {tool % 'send stripe'}")
    print(f"look at one   {tool % ('payment stripe ' + (payment or 'PAYMENT_ID'))}")
    print(f"all outputs   scripts/outputs.sh {target.name}{option}")
    print(f"take one down scripts/destroy_all.sh {target.name} compute{option}")


def _send_and_read_back(deployment: Deployment) -> str:
    now = datetime.now(UTC)
    body = sample(_PROVIDER, now)
    thing = json.loads(body)["data"]["object"]
    payment = str(thing["payment_intent"])
    answer = send_patiently(deployment, _PROVIDER, body, now)
    if answer.status != 200:  # noqa: PLR2004
        raise LayerError(f"the layers are deployed, but a signed webhook was answered {answer.status}: {answer.body}")
    found = lookup.payment(deployment, _PROVIDER, "-", payment)
    if found is None or len(found.events) != 1:
        raise LayerError(f"a webhook was acknowledged, but its payment {payment} is not in the table as sent")
    amount = found.totals["captured", "EUR"]
    print(f"\nA signed {_PROVIDER} webhook went through the function URL: {answer.body}")
    print(f"Read back from the table: payment {payment} is {found.state['status']['S']}, {amount} EUR minor units")
    return payment
