"""The paper beside this study: its claims, numbers and figures against the committed tables.

| file | holds |
|---|---|
| `page.py` | `results/paper.md` as a whole; `words.py` its sentences, `python -m bench.paper` writes it |
| `claims/` | each claim, judged by the rule of `verdicts.py` |
| `numbers.py`, `times.py` | the paper's tables beside ours |
| `answers.py` | the fastest of each network that keeps its score |
| `figures.py`, `architectures.py` | figures 2 to 11, and diagrams drawn from the modules |
"""
