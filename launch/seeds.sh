#!/usr/bin/env bash
# Runs one config with several seeds, one after the other; finished runs are left alone.
#   launch/seeds.sh configs/digits.py runs/digits 0 1 2 [-- --config.field=value ...]
set -euo pipefail

usage='usage: launch/seeds.sh CONFIG FOLDER SEED... [-- FLAG...]'
[ $# -ge 3 ] || { echo "$usage" >&2; exit 1; }
config=$1 folder=$2
shift 2
seeds=()
while [ $# -gt 0 ] && [ "$1" != -- ]; do
  seeds+=("$1")
  shift
done
[ "${1:-}" != -- ] || shift
for seed in "${seeds[@]}"; do
  echo "seed $seed"
  python -m contrastive_jax.main --config="$config" --workdir="$folder/seed$seed" \
    --config.seed="$seed" "$@"
done
