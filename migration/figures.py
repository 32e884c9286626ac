"""What the relay and the cut-over put into CloudWatch: the names, which alarms and dashboard share, and how."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from adapters.metrics import NAMESPACE

if TYPE_CHECKING:
    from collections.abc import Mapping

_log = logging.getLogger(__name__)

RELAY = frozenset(
    {"AwsLag", "AwsWaiting", "LegacyLag", "LegacyWaiting", "RelayAnswers", "RelayMismatches", "RelayParked",
     "SpoolShare"}
)  # fmt: skip
"""Of each relay: the ages of the oldest that wait (s) and how many wait, for each target; answers and mismatches
since the figures before; what is parked; how full the spool is (per cent)."""

CUTOVER = frozenset({"AwsShare", "CutoverFailures", "RolledBack"})
"""AWS's share of payments (per cent), gates that do not hold, and 1 for each time it went back."""


class Figures:
    """Putting figures, under the environment alone: a host's name as a dimension would make a metric of each host."""

    def __init__(self, client: Any, environment: str) -> None:
        self._client = client
        self._environment = environment

    def put(self, values: Mapping[str, float]) -> None:
        """Put them; CloudWatch out of reach is told in the log and holds nothing up."""
        dimensions = [{"Name": "Environment", "Value": self._environment}]
        data = [{"MetricName": name, "Dimensions": dimensions, "Value": value} for name, value in values.items()]
        try:
            self._client.put_metric_data(Namespace=NAMESPACE, MetricData=data)
        except (BotoCoreError, ClientError) as error:
            _log.warning("the figures could not be put into CloudWatch: %s", error)
