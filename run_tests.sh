#!/usr/bin/env bash
# Tests, demo and clean-up. For bash 3.2 and newer; `bash run_tests.sh help` tells what there is.
set -eu
unset CDPATH
here=$(cd "$(dirname "$0")" && pwd)

usage() {
    cat <<'EOF'
usage: bash run_tests.sh [PYTEST ARGUMENT ...]   make the virtual environment, run the tests
       bash run_tests.sh demo                    run the demo pipeline twice, show its metrics
       bash run_tests.sh clean                   empty state, locks, data/work and data/output
       bash run_tests.sh help                    this text

A first argument that is a file, a folder or an option goes to pytest; so does all that follows --.
Variables: PYTHON (interpreter), VENV (its environment, default .venv),
COVERAGE_MIN (percentage below which the tests fail, default 70; 0 for a selection of tests).
EOF
}

refuse() {
    echo "run_tests.sh: $1" >&2
    usage >&2
    exit 2
}

# Leaves the absolute path in PYTHON: the caller may have given one relative to its own folder.
find_python() {
    local probe='import sys; sys.version_info >= (3, 7) or sys.exit(1); print(sys.executable)'
    local candidate found
    for candidate in ${PYTHON:+"$PYTHON"} python3 python; do
        if found=$("$candidate" -c "$probe" 2>/dev/null </dev/null); then
            PYTHON=$(printf '%s' "$found" | tr -d '\r')
            return
        fi
        if [ -n "${PYTHON:-}" ]; then
            echo "run_tests.sh: PYTHON=$PYTHON is no Python 3.7 or newer; name one that is" >&2
            exit 2
        fi
    done
    echo "run_tests.sh: no Python 3.7 or newer found as python3 or python; set PYTHON" >&2
    exit 2
}

python_of_venv() {
    if [ -f "$VENV/Scripts/python.exe" ]; then
        echo "$VENV/Scripts/python.exe"
    else
        echo "$VENV/bin/python"
    fi
}

version_of() {
    "$1" -c 'import sys; print(sys.version.split()[0])' 2>/dev/null </dev/null | tr -d '\r'
}

# An environment that someone made by hand is completed, not thrown away; PYTHON may even live in it.
make_venv() {
    local wanted
    if [ "$(version_of "$(python_of_venv)")" != "$(version_of "$PYTHON")" ]; then
        if [ -d "$VENV" ] && [ ! -f "$VENV/pyvenv.cfg" ] && [ -n "$(ls -A "$VENV")" ]; then
            refuse "$VENV is no virtual environment and not empty; name another folder with VENV"
        fi
        echo "making $VENV with $PYTHON"
        "$PYTHON" -m venv --clear "$VENV"
    fi
    wanted=$(version_of "$PYTHON" && cat requirements-dev.txt)
    if [ "$(cat "$VENV/installed.stamp" 2>/dev/null)" != "$wanted" ]; then
        echo "installing requirements-dev.txt into $VENV"
        "$(python_of_venv)" -m pip install --quiet --disable-pip-version-check --no-input \
            -r requirements-dev.txt
        printf '%s\n' "$wanted" >"$VENV/installed.stamp"
    fi
}

run_tests() {
    local python config=pyproject.toml
    make_venv
    python=$(python_of_venv)
    # The coverage that Python 3.7 and 3.8 get does not know every setting of pyproject.toml.
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 9))' || config=.ci/coverage-old.ini
    echo "running the tests with Python $(version_of "$python"), coverage at least ${COVERAGE_MIN:-70} %"
    exec "$python" -m pytest --cov --cov-config="$config" --cov-report=term \
        --cov-fail-under="${COVERAGE_MIN:-70}" ${1+"$@"}
}

run_demo() {
    local id
    echo "removing the two completion markers"
    rm -f data/work/.stage_copy.done data/output/.stage_upper.done
    for id in demo1 demo2; do
        echo "running src/pipeline_runner.py --pipeline pipeline.json --run-id $id"
        "$PYTHON" src/pipeline_runner.py --pipeline pipeline.json --run-id "$id"
    done
    for id in demo1 demo2; do
        echo "state/metrics_$id.json:"
        "$PYTHON" -m json.tool "state/metrics_$id.json"
    done
}

# Not while a run is going on: it would lose the files that keep others out.
clean() {
    local folder
    for folder in state locks data/work data/output; do
        if [ -L "$folder" ]; then
            echo "leaving $folder alone: it is a link"
            continue
        fi
        echo "emptying $folder"
        mkdir -p "$folder"
        find "$folder" -mindepth 1 -maxdepth 1 ! -name .gitkeep -exec rm -rf {} +
        [ -e "$folder/.gitkeep" ] || : >"$folder/.gitkeep"
    done
}

verb=tests
case "${1:-}" in
    demo | clean)
        verb=$1
        [ $# -eq 1 ] || refuse "$1 takes no arguments"
        ;;
    help | -h | --help)
        usage
        exit
        ;;
    '' | -*) ;;
    *) [ -e "$here/${1%%::*}" ] || refuse "unknown command '$1'" ;;
esac
[ "${1:-}" != -- ] || shift

[ "$verb" = clean ] || find_python
VENV=${VENV:-$here/.venv}
case $VENV in
    /* | [A-Za-z]:*) ;;
    *) VENV=$PWD/$VENV ;;
esac
cd "$here"

case $verb in
    tests) run_tests ${1+"$@"} ;;
    demo) run_demo ;;
    clean) clean ;;
esac
