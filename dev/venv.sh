#!/bin/sh
# Makes .venv from requirements-dev.lock, every file checked against its hash, and writes the stamp $1 when it is whole.
set -eu
stamp=$1
python=.venv/bin/python
fits='import ensurepip, sys, venv; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))'

# Runs each candidate: a version manager leaves commands on the PATH for versions that do not run.
find_python() {
    for candidate in ${PYTHON:-python3.12 python3.11 python3 python /usr/bin/python3}; do
        if "$candidate" -c "$fits" >/dev/null 2>&1; then
            "$candidate" -c 'import sys; print(sys.executable)'
            return
        fi
    done
    if [ -n "${PYTHON:-}" ]; then
        echo "PYTHON is $PYTHON, which is no Python 3.11 or 3.12 with venv and ensurepip: set it to one, or unset it." >&2
    else
        echo "Caretree needs Python 3.11 or 3.12 (with venv and ensurepip) and found neither: install one, or set PYTHON to its path." >&2
    fi
    exit 1
}

rm -f "$stamp"
if ! "$python" -c "$fits" >/dev/null 2>&1; then
    found=$(find_python)
    echo "python   making .venv from $("$found" --version)"
    rm -rf .venv
    "$found" -m venv .venv
fi
echo "python   installing the locked packages"
sed -n '/^uv==/,/[^\\]$/p' requirements-dev.lock > .venv/uv.lock
wanted=$(sed -n 's/^uv==\([^ ]*\).*/uv \1/p' .venv/uv.lock)
case "$(.venv/bin/uv --version 2>/dev/null || true)" in
    "$wanted"*) ;;
    *) "$python" -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r .venv/uv.lock ;;
esac
export VIRTUAL_ENV="$PWD/.venv"
.venv/bin/uv --quiet pip sync --require-hashes --compile-bytecode requirements-dev.lock
.venv/bin/uv --quiet pip install --no-deps --no-build-isolation --editable .
touch "$stamp"
