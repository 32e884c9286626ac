"""What can go wrong in the relay."""


class RelayError(Exception):
    """Something that a person has to see; the message says what happened and what to do."""


class SettingsError(RelayError):
    """The settings' file is not in its form."""


class SpoolError(RelayError):
    """The spool cannot keep or give what it was asked to."""


class SpoolFullError(SpoolError):
    """The spool has reached its limit."""
