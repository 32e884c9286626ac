"""The end of a whole deployment: on local one real webhook, and what a person needs next."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import tenacity

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
    sent = sample(_PROVIDER, now)
    payment = str(json.loads(sent.body)["data"]["object"]["payment_intent"])
    answer = send_patiently(deployment, _PROVIDER, sent, now)
    if answer.status not in {200, 202}:
        raise LayerError(f"the layers are deployed, but a signed webhook was answered {answer.status}: {answer.body}")
    # What is buffered is in the table as soon as the drain has taken it.
    reading = tenacity.Retrying(
        retry=tenacity.retry_if_result(lambda found: found is None or len(found.events) != 1),
        stop=tenacity.stop_after_delay(30 if answer.status == 202 else 0),  # noqa: PLR2004
        wait=tenacity.wait_fixed(0.5),
        retry_error_callback=lambda _: None,
    )
    found = reading(lookup.Table(deployment).payment, _PROVIDER, "-", payment)
    if found is None:
        raise LayerError(f"a webhook was acknowledged, but its payment {payment} is not in the table as sent")
    amount = found.known.sums["captured", "EUR"]
    print(f"\nA signed {_PROVIDER} webhook went through the function URL: {answer.body}")
    print(f"Read back from the table: payment {payment} is {found.known.status}, {amount} EUR minor units")
    return payment
