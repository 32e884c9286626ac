"""Handlers that do the webhook's job as it is usually written, to measure ours against."""
