#!/usr/bin/env bash
# A fresh rented Ubuntu or Debian machine with an NVIDIA card becomes one that can train and hear.
# Usage: bash scripts/gpu_setup.sh   (from a clone of this repository)
set -euo pipefail
cd "$(dirname "$0")/.."

say() { echo "gpu_setup: $*" >&2; }
fail() { say "$*"; exit 2; }

command -v nvidia-smi >/dev/null || fail "no NVIDIA driver: choose an image with one, or install it."
driver=$(nvidia-smi --query-gpu=driver_version --format=csv,noheader | head -n 1)
card=$(nvidia-smi --query-gpu=name,memory.total --format=csv,noheader | head -n 1)
say "found $card, driver $driver"
# torch 2.13 brings CUDA 13, which needs this driver branch.
[ "${driver%%.*}" -ge 580 ] || fail "driver $driver is too old for CUDA 13: 580 or newer is needed."

# Ubuntu's python3.12 comes without what makes an environment: ensurepip is in python3.12-venv.
whole() { command -v "$1" >/dev/null && "$1" -c 'import ensurepip' 2>/dev/null; }
sudo=$([ "$(id -u)" = 0 ] || echo sudo)
if ! whole python3.11 && ! whole python3.12; then
    $sudo apt-get update -qq
    $sudo apt-get install -qq -y python3.12 python3.12-venv build-essential git ||
        fail "no Python 3.11 or 3.12 to be had: install one, then run this again."
fi
base=python3.12
if whole python3.11; then base=python3.11; fi
# triton compiles a piece of C against Python.h when its first kernel runs.
compiles() {
    { command -v gcc || command -v clang; } >/dev/null &&
        [ -e "$("$base" -c 'import sysconfig; print(sysconfig.get_paths()["include"])')/Python.h" ]
}
if ! compiles; then
    { $sudo apt-get update -qq && $sudo apt-get install -qq -y build-essential "$base-dev"; } ||
        say "no C compiler or no Python.h to be had: training will go without fused kernels."
fi
PYTHON_BASE=$base EXTRAS=${EXTRAS:-all,gpu} bash scripts/setup.sh

# CTranslate2 opens libcublas.so.12 and cuDNN 9, while torch brings CUDA 13's: put them beside it.
.venv/bin/python -m pip install --quiet "nvidia-cublas-cu12" "nvidia-cudnn-cu12==9.*"
site=$(.venv/bin/python -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])')
libraries="$site/nvidia/cublas/lib:$site/nvidia/cudnn/lib"
activate=.venv/bin/activate
grep -q "nvidia/cublas/lib" "$activate" ||
    echo "export LD_LIBRARY_PATH=\"$libraries\${LD_LIBRARY_PATH:+:\$LD_LIBRARY_PATH}\"" >>"$activate"

# shellcheck disable=SC1090
source "$activate"
python - <<'PY' || fail "torch cannot use this card: see the message above."
import torch
assert torch.cuda.is_available(), "torch sees no GPU"
name = torch.cuda.get_device_name(0)
print(f"gpu_setup: torch {torch.__version__} computes on {name}:", (torch.ones(2, device="cuda") * 2).sum().item())
PY
python -c 'import ctypes; ctypes.CDLL("libcublas.so.12"); ctypes.CDLL("libcudnn.so.9")' ||
    fail "cuBLAS 12 or cuDNN 9 cannot be opened: source $activate and try again."
say "ready: try the card first with make gpu (8 minutes, no network); then"
say "source $activate, and python -m train +experiment=qlora_mistral corpus=<your show>"
