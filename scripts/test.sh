#!/usr/bin/env bash
# Format, lint, types and all tests. Usage: scripts/test.sh [PYTEST ARGUMENTS]
. "$(dirname "$0")/lib.sh"
unset ENVMIG_LOCAL_DIR ENVIRONMENT_SUFFIX APIKEYS_FILE
LOCAL="$ROOT/.local"
ensure_venv
ensure_emulator
ensure_spark
cd "$ROOT"
bin="$VENV/bin"

say "Format and lint"
"$bin/ruff" format --check --quiet . || die "files are not formatted: run .venv/bin/ruff format ."
"$bin/ruff" check --quiet .
"$bin/shellcheck" -x scripts/*.sh .ci/run

say "Types"
export MYPY_CACHE_DIR="$ROOT/.mypy_cache"
"$bin/mypy" lambda_src local_aws migration demo scripts/layers stacks/shared/envmig_stacks bench tests
# Each program in its own folder, as Pulumi runs it: they have modules of the same names.
for layer in data security compute; do
    (cd "stacks/$layer" && MYPYPATH=. "$bin/mypy" --config-file "$ROOT/pyproject.toml" .)
done

say "Tests"
export PYTHONPATH="$LOCAL/spark"
exec "$bin/python" -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder "$@"
