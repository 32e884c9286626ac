"""The old database: how its rows are told in the words of this system, and reading it without getting in its way."""
