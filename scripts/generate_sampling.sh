#!/usr/bin/env bash
# Base and checkpoints continue the held-out openings: bash scripts/generate_sampling.sh +experiment=demo
exec python -m generate 'decoding=[nucleus]' "$@"
