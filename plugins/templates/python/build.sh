#!/bin/sh
# Makes the component `dist/plugin-name.wasm`.
set -eu
cd "$(dirname "$0")"
mkdir -p dist
# Nothing but the folder and what is installed beside it goes into the component.
VIRTUAL_ENV="$PWD/.venv" .venv/bin/componentize-py --quiet --wit-path wit --world plugin \
    componentize app --python-path . --output dist/plugin-name.wasm
