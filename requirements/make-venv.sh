#!/bin/sh
# Makes .venv, with pip in it, from a Python of at least 3.11. Run by make, in the project's root.
# PYTHON names the Python to take; without it, the first on the PATH that is new enough is taken.
set -eu

is_new_enough() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

has() { # has PYTHON MODULE...
    python=$1
    shift
    for module; do "$python" -c "import $module" 2>/dev/null || return 1; done
}

stop() {
    printf '%s\n' "$@" >&2
    exit 1
}

# One that is already there and fit is kept, whoever made it.
if is_new_enough .venv/bin/python && has .venv/bin/python pip; then exit 0; fi

chosen=''
for candidate in ${PYTHON:-python3 python3.14 python3.13 python3.12 python3.11}; do
    if is_new_enough "$candidate"; then
        chosen=$candidate
        break
    fi
done
[ -n "$chosen" ] || stop \
    "Python 3.11 or newer is needed; there is none under: ${PYTHON:-python3 python3.14 python3.13 python3.12 python3.11}" \
    "Install one, or name it: make PYTHON=/path/to/python3 ..."

if has "$chosen" venv ensurepip; then
    "$chosen" -m venv .venv
elif has "$chosen" venv pip; then
    # Debian and its like ship Python without ensurepip; the pip beside it can fill the environment.
    "$chosen" -m venv --without-pip .venv
    "$chosen" -m pip --python .venv/bin/python --disable-pip-version-check install -qq \
        --require-hashes -r requirements/pip.txt
elif has "$chosen" virtualenv; then
    "$chosen" -m virtualenv --quiet .venv
else
    stop "$chosen can make no virtual environment: it has neither ensurepip, nor pip, nor virtualenv." \
        "On Debian and Ubuntu: apt-get install python3-venv" \
        "Or make .venv with any other tool that puts pip into it, then run make again."
fi
