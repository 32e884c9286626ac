# Sourced by every script: where things are, and the set-up that each of them does by itself.
# shellcheck shell=bash
set -euo pipefail

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
VENV="$ROOT/.venv"
LOCAL="${ENVMIG_LOCAL_DIR:-$ROOT/.local}"
export ENVMIG_LOCAL_DIR="$LOCAL"
export PULUMI_SKIP_UPDATE_CHECK=true
# Byte code is kept, or every one of a deployment's interpreters would compile Pulumi anew; but not beside sources.
unset PYTHONDONTWRITEBYTECODE
export PYTHONPYCACHEPREFIX="$VENV/pycache"

say() { printf '%s\n' "$*" >&2; }
die() { say "error: $*"; exit 1; }

# The newest Python that the whole system is known to run on, the Lambda runtime's 3.13 preferred.
find_python() {
    local candidate
    for candidate in "${ENVMIG_PYTHON:-}" python3.13 "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.13*/bin/python3.13 \
        python3 python3.12 python3.11; do
        [ -n "$candidate" ] || continue
        if "$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))' 2>/dev/null; then
            command -v "$candidate"
            return
        fi
    done
    die "no Python from 3.11 to 3.14 was found. Install one (3.13 is what AWS Lambda runs), or name it in ENVMIG_PYTHON."
}

# ensure_venv: the locked dependencies in .venv; does nothing when the lock has not changed.
ensure_venv() {
    local wanted python
    wanted="$(cat "$ROOT"/requirements/{uv,dev}.txt "$ROOT"/pyproject.toml "$ROOT"/stacks/shared/pyproject.toml | cksum) $ROOT"
    if [ "$(cat "$VENV/.locked" 2>/dev/null)" = "$wanted" ]; then return; fi
    python="$(find_python)"
    say "Setting up .venv with $("$python" --version) ..."
    rm -rf "$VENV"
    "$python" -m venv "$VENV" || die "$python cannot make virtual environments (on Debian: apt-get install python3-venv)."
    "$VENV/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes -r "$ROOT/requirements/uv.txt" \
        || die "the package index could not be reached: see the message above, then run the same command again."
    uv_in "$VENV" pip sync --quiet --require-hashes "$ROOT/requirements/uv.txt" "$ROOT/requirements/dev.txt"
    uv_in "$VENV" pip install --quiet --no-deps --no-build-isolation -e "$ROOT" -e "$ROOT/stacks/shared"
    printf '%s' "$wanted" >"$VENV/.locked"
}

# ensure_emulator: the emulator's own environment, apart because it pins botocore to another version.
ensure_emulator() {
    local home="$LOCAL/emulator-venv" wanted
    wanted="$(cksum <"$ROOT/requirements/emulator.txt") $("$VENV/bin/python" --version)"
    if [ "$(cat "$home/.locked" 2>/dev/null)" = "$wanted" ]; then return; fi
    say "Setting up the local AWS in $home ..."
    mkdir -p "$LOCAL"
    rm -rf "$home"
    "$VENV/bin/uv" venv --quiet --python "$VENV/bin/python" "$home"
    uv_in "$home" pip sync --quiet --require-hashes --compile-bytecode "$ROOT/requirements/emulator.txt"
    printf '%s' "$wanted" >"$home/.locked"
}

# ensure_spark: PySpark in a folder of its own, for the one test and the one option that need it.
ensure_spark() {
    local home="$LOCAL/spark" wanted
    wanted="$(cksum <"$ROOT/requirements/spark.txt") $("$VENV/bin/python" --version)"
    if [ "$(cat "$home/.locked" 2>/dev/null)" = "$wanted" ]; then return; fi
    command -v java >/dev/null || { say "no Java: what needs Spark is skipped"; return; }
    say "Setting up PySpark in $home ..."
    rm -rf "$home"
    uv_in "$VENV" pip install --quiet --python "$VENV/bin/python" --target "$home" --require-hashes \
        -r "$ROOT/requirements/spark.txt"
    printf '%s' "$wanted" >"$home/.locked"
}

uv_in() {
    local venv="$1"
    shift
    env -u PYTHONPYCACHEPREFIX VIRTUAL_ENV="$venv" "$VENV/bin/uv" "$@" || die "installing the locked dependencies failed: see the message above."
}
