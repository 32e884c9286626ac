#!/usr/bin/env bash
# Usage: scripts/deploy_all.sh --help
. "$(dirname "$0")/lib.sh"
ensure_venv
case " $* " in *" local "*) ensure_emulator ;; esac
cd "$ROOT"
exec "$VENV/bin/python" -m scripts.layers deploy "$@"
