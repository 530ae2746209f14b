#!/bin/sh
# Gives a board the runtimes that edgecomp measures, in a virtual environment of their own.
#
#     sh setup.sh [--wheels FOLDER] [REQUIREMENT...]     installs; without requirements, what the board can have
#     sh setup.sh --check REQUIREMENT...                 succeeds when exactly that is installed already
#     sh setup.sh --uninstall                            removes it and everything else of edgecomp
#
# The environment is ~/.local/share/edgecomp/venv; `bench.py` of edgecomp finds it there. With --wheels nothing is
# fetched: the folder holds a wheel of each requirement, of all they need, and of pip. Running it again with the same
# requirements does nothing. It needs Python 3.9 and, without --wheels, Debian's python3-venv.
set -eu

share=${HOME:?HOME is not set}/.local/share/edgecomp
venv=$share/venv
state=$venv/edgecomp-requirements
marker='edgecomp setup:'

say() {
    printf '%s %s\n' "$marker" "$1" >&2
}

fail() {
    say "$1"
    exit 1
}

# What the board's processor and system can have, for who runs this by hand; edgecomp names its own.
defaults() {
    case $(python3 -c 'import struct; print(struct.calcsize("P") * 8)') in
    64) printf '%s\n' ai-edge-litert 'onnxruntime!=1.21.0' MNN ;;
    *) printf '%s\n' tflite-runtime ;;
    esac
}

installed() {
    [ -x "$venv/bin/python" ] && [ -f "$state" ] && [ "$(cat "$state")" = "$1" ]
}

make_venv() {
    # A 32-bit board has numpy from its own system: PyPI has no wheel of it.
    site=
    if [ "$(python3 -c 'import struct; print(struct.calcsize("P") * 8)')" = 32 ]; then
        python3 -c 'import numpy' 2>/dev/null || fail 'numpy is missing: sudo apt install python3-numpy'
        site=--system-site-packages
    fi
    if [ -n "$1" ]; then
        python3 -m venv --without-pip $site "$venv" || fail 'Python cannot make a virtual environment'
    else
        python3 -m venv $site "$venv" >&2 || fail 'no virtual environments here: sudo apt install python3-venv'
    fi
}

install() {
    wheels=$1
    shift
    if [ -n "$wheels" ]; then
        for pip in "$wheels"/pip-*.whl; do break; done
        [ -e "$pip" ] || fail "no wheel of pip in $wheels"
        "$venv/bin/python" "$pip/pip" install --quiet --no-compile --no-index --find-links "$wheels" "$@" >&2
    else
        "$venv/bin/python" -m pip install --quiet --only-binary :all: "$@" >&2
    fi
}

wheels=
check=
while [ $# -gt 0 ]; do
    case $1 in
    --uninstall)
        rm -rf "$share" "$HOME/.cache/edgecomp"
        say 'removed'
        exit 0
        ;;
    --check) check=yes ;;
    --wheels)
        [ -d "${2:-}" ] || fail '--wheels wants a folder'
        wheels=$(cd "$2" && pwd)
        shift
        ;;
    --) shift && break ;;
    -*) fail "unknown option $1" ;;
    *) break ;;
    esac
    shift
done

python3 -c 'import sys; sys.exit(sys.version_info < (3, 9))' || fail 'Python 3.9 or newer is needed'
# shellcheck disable=SC2046  # one word each
[ $# -gt 0 ] || set -- $(defaults)
wanted=$(printf '%s\n' "$@")

if installed "$wanted"; then
    say 'already there'
    exit 0
fi
[ -z "$check" ] || exit 3

# What is half-made is removed, whatever stops this.
trap 'rm -rf "$venv"; rmdir "$share" 2>/dev/null || :' EXIT
trap 'exit 1' HUP INT TERM
rm -rf "$venv"
mkdir -p "$share" || fail "$share cannot be made"
make_venv "$wheels"
install "$wheels" "$@" || fail 'the runtimes could not be installed; what pip said is above'
printf '%s\n' "$@" >"$state"
trap - EXIT
say "ready: $venv"
