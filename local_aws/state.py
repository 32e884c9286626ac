"""What the local engine remembers of one layer: a JSON file, replaced whole at every step."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path


_FOLDER = "stacks"


def anything_deployed(home: Path) -> bool:
    """Whether any layer of any stack is there, in whole or in part."""
    return any((home / _FOLDER).glob("*/*.json"))


@dataclass(kw_only=True)
class Recorded:
    """One resource as it was last deployed; secrets and packages stand as digests."""

    token: str
    name: str
    id: str
    inputs: dict[str, Any]
    outputs: dict[str, Any]
    property_dependencies: dict[str, list[str]]
    """For each input, the URNs of the resources it was made from."""


@dataclass
class LayerState:
    """One layer's resources by URN, in the order in which they were made, and its outputs."""

    path: Path
    resources: dict[str, Recorded] = field(default_factory=dict)
    outputs: dict[str, Any] = field(default_factory=dict)
    pending: dict[str, str] = field(default_factory=dict)
    """Ids by URN of resources whose creation began; after a crash it is unknown whether they are there."""

    @classmethod
    def load(cls, home: Path, stack: str, project: str) -> LayerState:
        """Read a layer's state; a layer that was never deployed has an empty one."""
        path = home / _FOLDER / stack / f"{project}.json"
        if not path.exists():
            return cls(path)
        kept = json.loads(path.read_text())
        resources = {urn: Recorded(**recorded) for urn, recorded in kept["resources"].items()}
        return cls(path, resources, kept["outputs"], kept["pending"])

    @property
    def deployed(self) -> bool:
        """Whether anything of the layer is there."""
        return bool(self.resources)

    def save(self) -> None:
        """Write the state so that a reader, or a crash, sees the old or the new one and nothing between."""
        if not self.resources and not self.pending:
            self.path.unlink(missing_ok=True)
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        draft = self.path.with_suffix(".new")
        kept = {
            "resources": {urn: asdict(recorded) for urn, recorded in self.resources.items()},
            "outputs": self.outputs,
            "pending": self.pending,
        }
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            json.dump(kept, file, indent=2)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(self.path)
