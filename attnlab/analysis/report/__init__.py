"""One HTML file that works offline: what was asked, what came out, and how to do every run again.

    store -> collect.py -> Book (plain data) -> page.py -> HTML

`lookback.py` takes learning curves and alignments out of what each run left behind; `encode.py` writes tables small.
The page is `page.html.j2`, `style.css` and `script/*.js`, put into one file; it loads nothing and sends nothing.
"""

from __future__ import annotations

from attnlab.analysis.report.book import Book, Chapter, collect
from attnlab.analysis.report.page import check_output, page, write_report

__all__ = ["Book", "Chapter", "check_output", "collect", "page", "write_report"]
