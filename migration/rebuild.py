"""Folding payments' states anew from their events, for states that are not what their events add up to."""

from __future__ import annotations

import time
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

from adapters.items import read_event, read_state, state_item
from migration.lookup import Table
from payments.state import State, fold
from payments.validation import differences

if TYPE_CHECKING:
    from adapters.items import Item
    from migration.deployment import Deployment

_SETTLED_AFTER_S = 2.0
"""An index follows its table within a second or so: a difference counts when it is still the same after this."""


class Verdict(StrEnum):
    """What is to be said of a payment's state."""

    RIGHT = "right"
    WRONG = "wrong"
    REBUILT = "rebuilt"
    CHANGED = "changed meanwhile"
    """Live traffic wrote the state between reading and writing; it was left alone."""


class Finding(NamedTuple):
    """A payment's state beside what its events add up to."""

    key: str
    verdict: Verdict
    stored: State | None
    folded: State

    def differences(self) -> list[str]:
        """What differs, for people."""
        if self.stored is None:
            return ["there is no state"]
        return differences(self.stored, self.folded)


class Rebuild:
    """Rebuilding in one deployment, with the operator's rights."""

    def __init__(self, deployment: Deployment) -> None:
        self._table = Table(deployment, "operator")
        self._client = deployment.client("operator", "dynamodb")
        self._name = deployment.output("data", "table_name")
        self._shards = int(deployment.output("data", "index_shards"))

    def examine(self, key: str) -> Finding | None:
        """Compare a payment's state with the fold of its events; None when neither is there."""
        finding = self._compare(key)
        while finding and finding.verdict is Verdict.WRONG:
            time.sleep(_SETTLED_AFTER_S)
            again = self._compare(key)
            if again is None or (again.stored, again.folded) == (finding.stored, finding.folded):
                break
            finding = again
        return finding

    def repair(self, finding: Finding) -> Finding:
        """Write the fold in the place of a wrong state, unless the state has changed since it was read."""
        events = self._table.history(finding.key)
        event, _ = read_event(events[0])
        item = state_item(event.provider, event.account, str(event.payment), finding.folded, self._shards)
        condition, values = "attribute_not_exists(PK)", {}
        if stored := finding.stored:
            condition = "event_count = :count AND " + (
                "#version = :version" if stored.version else "attribute_not_exists(#version)"
            )
            values = {":count": {"N": str(stored.event_count)}}
            if stored.version:
                values[":version"] = {"S": stored.version}
        request = {"TableName": self._name, "Item": item, "ConditionExpression": condition}
        if values:
            request["ExpressionAttributeValues"] = values
            request["ExpressionAttributeNames"] = {"#version": "version"}
        try:
            self._client.put_item(**request)
        except self._client.exceptions.ConditionalCheckFailedException:
            return finding._replace(verdict=Verdict.CHANGED)
        return finding._replace(verdict=Verdict.REBUILT)

    def _compare(self, key: str) -> Finding | None:
        state: Item | None = self._table.state(key)
        events = self._table.history(key)
        if state is None and not events:
            return None
        stored = read_state(state) if state else None
        folded = fold(map(read_event, events))
        return Finding(key, Verdict.RIGHT if stored == folded else Verdict.WRONG, stored, folded)
