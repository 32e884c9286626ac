"""What ships to AWS Lambda: the Python files of lambda_src and nothing else."""

from pathlib import Path

import pulumi

_SOURCE = Path(__file__).resolve().parents[2] / "lambda_src"


def lambda_package() -> pulumi.AssetArchive:
    """The package's files by their path in it, independent of when and where they were checked out."""
    return pulumi.AssetArchive(
        {path.relative_to(_SOURCE).as_posix(): pulumi.FileAsset(str(path)) for path in sorted(_SOURCE.rglob("*.py"))}
    )
