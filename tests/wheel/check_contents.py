"""Run where only the wheel is installed: it must hold `sparsemark` and nothing else, and be what is imported."""

import importlib.metadata
import importlib.util
import sys

files = importlib.metadata.files("sparsemark") or []
tops = {file.parts[0] for file in files if not file.parts[0].endswith(".dist-info") and file.parts[0] != ".."}
if tops != {"sparsemark"}:
    sys.exit(f"the wheel holds {sorted(tops)}, expected sparsemark alone")
for name in ("models", "training", "bench"):
    if importlib.util.find_spec(name):
        sys.exit(f"{name} can be imported where only the wheel should be")
starter = {file.name for file in files if file.parts[:2] == ("sparsemark", "starter")}
needed = {"model.py", "shapes.py", "task.py", "simple_task.py", "study.toml", "ci.sh", "ci-github.yml"}
if not needed <= starter:
    sys.exit(f"the wheel lacks {sorted(needed - starter)}, which sparsemark init copies")
print("wheel: sparsemark alone, with the files of sparsemark init")
