"""What can go wrong with the local AWS, in words for the person who runs it."""

from __future__ import annotations


class LocalAwsError(Exception):
    """The local AWS cannot go on; the message says what happened and what to do."""


class UnknownResourceTypeError(LocalAwsError):
    """A program declares a resource that the local engine has no handler for."""

    def __init__(self, token: str, name: str) -> None:
        super().__init__(
            f"the local engine does not know the resource type {token} (of {name!r}). Add a handler for it to "
            f"local_aws/resources/, or try the program on AWS."
        )


class UnknownPropertyError(LocalAwsError):
    """A program sets a property that the handler would silently leave out."""

    def __init__(self, token: str, name: str, properties: list[str]) -> None:
        super().__init__(
            f"the local engine does not know the property {', '.join(properties)} of {token} (of {name!r}). Add "
            f"it to the handler in local_aws/resources/."
        )


class UnknownFunctionError(LocalAwsError):
    """A program looks something up that the local engine cannot answer."""

    def __init__(self, token: str) -> None:
        super().__init__(f"the local engine does not know the function {token}. Add it to local_aws/resources/.")


class NotRunningError(LocalAwsError):
    """The emulator is not there."""

    def __init__(self) -> None:
        super().__init__("the local AWS is not running. Start it: scripts/deploy_all.sh local")


class ForeignResourceError(LocalAwsError):
    """Something has the name already that this layer is about to make."""

    def __init__(self, token: str, name: str, resource_id: str) -> None:
        super().__init__(
            f"{token} {resource_id} (of {name!r}) is there already, though this stack did not make it. Choose "
            f"another --suffix, or start afresh: scripts/destroy_all.sh local, then rm -rf .local"
        )
