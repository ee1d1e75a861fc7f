"""`python -m tools.reference`: write the reference into `docs/`, and say which pages changed."""

from tools.reference import write

for path in write():
    print(f"docs/{path}")
