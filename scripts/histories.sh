#!/usr/bin/env bash
# 10,000 histories of a migration, with crashes, faults and repairs. Usage: scripts/histories.sh [PYTEST ARGUMENTS]
# A history that fails prints its steps; the same --hypothesis-seed=N runs the same histories again.
. "$(dirname "$0")/lib.sh"
ensure_venv
cd "$ROOT"
export ENVMIG_HISTORIES="${ENVMIG_HISTORIES:-10000}"
exec "$VENV/bin/python" -m pytest -q -s tests/unit/test_histories.py --hypothesis-show-statistics "$@"
