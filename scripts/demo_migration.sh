#!/usr/bin/env bash
# The whole migration on this machine, with what goes wrong on the way. Usage: scripts/demo_migration.sh --help
. "$(dirname "$0")/lib.sh"
LOCAL="$ROOT/.local"
ensure_venv
ensure_emulator
# A local AWS of its own, anew each time; the developer's is left alone.
home="$LOCAL/demo"
rm -rf "$home"
mkdir -p "$home"
ln -s "$LOCAL/emulator-venv" "$home/emulator-venv"
export ENVMIG_LOCAL_DIR="$home"
cd "$ROOT"
exec "$VENV/bin/python" -m demo "$@"
