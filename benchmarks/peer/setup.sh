#!/usr/bin/env bash
# Makes the virtual environment that the PyTorch side of the benchmarks runs in.
#   benchmarks/peer/setup.sh .venv-peer
set -euo pipefail
venv=${1:?usage: benchmarks/peer/setup.sh FOLDER}
python3 -m venv "$venv"
pip=("$venv/bin/pip" install -q)
"${pip[@]}" torch==2.13.0 'numpy<3' pillow tqdm scikit-learn faiss-cpu safetensors
# Their requirements would bring other builds of torch, and what only their command lines need.
"${pip[@]}" --no-deps torchvision==0.28.0 lightly==1.6 lightly-utils kornia kornia_rs
"${pip[@]}" aenum pydantic python-dateutil requests six hydra-core pytorch-lightning
# For the check of exported encoders alone.
"${pip[@]}" --no-deps timm==1.0.31
"${pip[@]}" huggingface_hub pyyaml
# With a build for CPUs torchvision has no operators of its own, and importing it fails where it
# registers substitutes for them.
meta=$("$venv/bin/python" -c 'import importlib.util as u; print(u.find_spec("torchvision").submodule_search_locations[0])')/_meta_registrations.py
sed -i 's/^@torch.library.register_fake(.*)$/# &/' "$meta"
"$venv/bin/python" -c 'import torch, torchvision, lightly; print(torch.__version__, torchvision.__version__, lightly.__version__)'
