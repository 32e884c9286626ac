#!/usr/bin/env bash
# One benchmark beside its baselines. Usage: scripts/bench.sh cold_start|handler|verification|validation|relay|backfill|reconcile [OPTIONS]
. "$(dirname "$0")/lib.sh"
LOCAL="$ROOT/.local"
ensure_venv
ensure_emulator
home="$LOCAL/bench-venv"
wanted="$(cksum <"$ROOT/requirements/bench.txt") $("$VENV/bin/python" --version)"
if [ "$(cat "$home/.locked" 2>/dev/null)" != "$wanted" ]; then
    say "Setting up the baselines in $home ..."
    "$VENV/bin/uv" venv --quiet --clear --python "$VENV/bin/python" "$home"
    uv_in "$home" pip sync --quiet --require-hashes --compile-bytecode "$ROOT/requirements/bench.txt"
    printf '%s' "$wanted" >"$home/.locked"
fi
[ -f "$ROOT/bench/${1:-}.py" ] || die "name a benchmark: cold_start, handler, verification, validation, relay, backfill or reconcile"
cd "$ROOT"
name="$1"
shift
exec "$VENV/bin/python" -m "bench.$name" "$@"
