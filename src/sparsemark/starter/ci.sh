#!/usr/bin/env bash
# Gate the network in any CI: `bash ci.sh BASE` times it at the commit BASE and as it is here, on this machine, and ends
# with the exit code of the gate. Install first: what the network needs, and "sparsemark[direct]".
set -euo pipefail
model=(model.py:build --task task.py --prune magnitude:0.9 --engine onnxruntime --engine direct-csr)
here=$PWD base=$(mktemp -d)
inside=$(git rev-parse --show-prefix) # of the repository, where this folder is not its root
git worktree add --detach "$base" "${1:-origin/main}"
trap 'git -C "$here" worktree remove --force "$base"' EXIT
(cd "$base/$inside" && sparsemark bench "${model[@]}" --json "$here/baseline.json")
sparsemark bench "${model[@]}" --json candidate.json
sparsemark gate --baseline baseline.json candidate.json --comment comment.md --junit gate.xml
