"""What ships to AWS Lambda: lambda_src and nothing else, with its byte code.

Lambda unpacks a package read-only, so that without byte code every cold start would compile every module anew:
a third of the whole start. It is made when the deploying Python is the Lambda's; another's would be ignored.
"""

import hashlib
import py_compile
import sys
from pathlib import Path

import pulumi

RUNTIME = (3, 13)

_ROOT = Path(__file__).resolve().parents[2]
_SOURCE = _ROOT / "lambda_src"


def lambda_package() -> pulumi.AssetArchive:
    """The package's files by their path in it, the same for the same sources."""
    sources = {path.relative_to(_SOURCE).as_posix(): path for path in sorted(_SOURCE.rglob("*.py"))}
    return pulumi.AssetArchive(
        {name: pulumi.FileAsset(str(path)) for name, path in (sources | _byte_code(sources)).items()}
    )


def _byte_code(sources: dict[str, Path]) -> dict[str, Path]:
    if sys.version_info[:2] != RUNTIME:
        return {}
    # Compiled once for each state of the sources: compiling again may give other bytes of the same meaning.
    state = hashlib.sha256(b"".join(name.encode() + path.read_bytes() for name, path in sources.items()))
    build = _ROOT / ".build" / f"{sys.implementation.cache_tag}-{state.hexdigest()[:16]}"
    compiled = {}
    for name, path in sources.items():
        place = Path(name).parent / "__pycache__" / f"{path.stem}.{sys.implementation.cache_tag}.pyc"
        target = build / place
        if not target.exists():
            # Unchecked: the package never changes once it is built, so Python need not look at the source.
            mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
            py_compile.compile(str(path), str(target), dfile=name, doraise=True, invalidation_mode=mode)
        compiled[place.as_posix()] = target
    return compiled
