#!/usr/bin/env bash
# Gate a model of your own in any CI: `gate.sh BASE` times it at the commit BASE and as it is here, on this machine,
# and ends with the exit code of the gate. Change the line `model=`.
set -euo pipefail
model=(my_model.py:build --input 1,3,224,224 --prune magnitude:0.9 --engine onnxruntime --engine direct-csr)
here=$PWD
base=$(mktemp -d)
git worktree add --detach "$base" "${1:-origin/main}"
trap 'git -C "$here" worktree remove --force "$base"' EXIT
(cd "$base" && sparsemark bench "${model[@]}" --json "$here/baseline.json")
sparsemark bench "${model[@]}" --json candidate.json
sparsemark gate --baseline baseline.json candidate.json --comment comment.md --junit gate.xml
