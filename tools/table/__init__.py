"""The Attention Table: results of the experiments in `experiments/table/` -> `docs/table.md` and its picture.

    attnlab sweep experiments/table/content.yaml experiments/table/order.yaml --store table.db
    python -m tools.table table.db -o docs/table.md --page table.html

store  --scores.py-->  skill of each mechanism, task and seed  --variance.py, page.py-->  the page
                                                                  --interactive.py-->  a report that ranks by skill
"""
