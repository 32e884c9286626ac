"""What ships to AWS Lambda: lambda_src with its byte code, and the libraries of requirements/lambda.txt.

Lambda unpacks a package read-only, so that without byte code every cold start would compile every module anew:
a third of the whole start. It is made when the deploying Python is the Lambda's; another's would be ignored.
"""

import hashlib
import os
import py_compile
import shutil
import subprocess
import sys
from pathlib import Path

import pulumi

RUNTIME = (3, 13)
ARCHITECTURE = "arm64"

_ROOT = Path(__file__).resolve().parents[2]
_SOURCE = _ROOT / "lambda_src"
_LOCK = _ROOT / "requirements" / "lambda.txt"
_BUILD = _ROOT / ".build"

_PLATFORM = ["--python-platform", "aarch64-manylinux_2_28", "--python-version", ".".join(map(str, RUNTIME))]
"""Wheels for Amazon Linux 2023 on arm64, whose glibc is 2.34.

Source: https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtimes.html
"""


class MissingDependencyError(pulumi.RunError):
    """The libraries that ship with the functions cannot be had."""


def lambda_package(*, libraries: bool = False) -> pulumi.AssetArchive:
    """The package's files by their path in it, the same for the same sources.

    Parameters
    ----------
    libraries
        Whether the function verifies signatures, and so needs what our own code may never do itself.
    """
    sources = {path.relative_to(_SOURCE).as_posix(): path for path in sorted(_SOURCE.rglob("*.py"))}
    extra: dict[str, Path] = {}
    if libraries:
        folder = _libraries()
        extra = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
    modules = {name: path for name, path in (sources | extra).items() if name.endswith(".py")}
    files = sources | extra | _byte_code(modules)
    return pulumi.AssetArchive({name: pulumi.FileAsset(str(path)) for name, path in files.items()})


def _libraries() -> Path:
    """The locked libraries, installed once for each state of the lock.

    LAMBDA_PLATFORM=host installs them for this machine, where the functions run under an emulator.
    """
    platform = os.environ.get("LAMBDA_PLATFORM")
    if platform not in {None, "", "host"}:
        raise MissingDependencyError(f"LAMBDA_PLATFORM is {platform!r}; it can be 'host', or must not be set")
    arguments = [] if platform == "host" else _PLATFORM
    state = hashlib.sha256(_LOCK.read_bytes() + " ".join(arguments or [sys.version, sys.platform]).encode())
    folder = _BUILD / f"libraries-{state.hexdigest()[:16]}"
    if folder.exists():
        return folder
    made = _BUILD / f"libraries-{os.getpid()}"
    command = [
        *(sys.executable, "-m", "uv", "pip", "install", "--quiet", "--target", str(made), "--no-deps"),
        *("--only-binary", ":all:", "--require-hashes", "--requirement", str(_LOCK), *arguments),
    ]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    if ran.returncode:
        shutil.rmtree(made, ignore_errors=True)
        raise MissingDependencyError(
            f"the libraries of {_LOCK.relative_to(_ROOT)} cannot be installed: {ran.stderr.strip()}\n"
            "Is the package index reachable, and is this the Python of .venv (scripts/deploy_all.sh makes it)?"
        )
    (made / ".lock").unlink(missing_ok=True)
    try:
        made.rename(folder)
    except OSError:
        # Another deployment was faster.
        shutil.rmtree(made)
    return folder


def _byte_code(sources: dict[str, Path]) -> dict[str, Path]:
    if sys.version_info[:2] != RUNTIME:
        return {}
    # Compiled once for each state of the sources: compiling again may give other bytes of the same meaning.
    state = hashlib.sha256(b"".join(name.encode() + path.read_bytes() for name, path in sources.items()))
    build = _BUILD / f"{sys.implementation.cache_tag}-{state.hexdigest()[:16]}"
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
