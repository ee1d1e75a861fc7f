"""One HTML file that works offline: what was asked, what came out, and how to repeat every run.

    store -> book.py -> Book (plain data) -> page.py -> HTML

`curves_and_weights.py` takes learning curves and alignments from what each run left behind. `small_json.py` writes tables
as small JSON. The page puts `page.html.j2`, `style.css` and `script/*.js` into one file. It loads nothing and sends nothing.
"""

from __future__ import annotations

from attnlab.analysis.report.book import Book, Chapter, collect
from attnlab.analysis.report.page import check_output, page, write_report
from attnlab.analysis.report.sections import Section, cost_plot

__all__ = ["Book", "Chapter", "Section", "check_output", "collect", "cost_plot", "page", "write_report"]
