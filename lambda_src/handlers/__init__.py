"""The Lambda functions' entry points: thin."""
