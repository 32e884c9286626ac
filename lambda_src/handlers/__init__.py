"""The Lambda functions' entry points: thin."""

REPLAY = "envmig:replay"
"""The event source that an operator's replay names to the drain: it keeps its own account of what is left."""
