r"""Formulas of the documentation, typeset when it is built: LaTeX becomes MathML, which a browser shows without a script.

mkdocs loads this file as a hook. It reads what GitHub reads: a fenced block of the language `math`, and $`...`$ within a line.
"""

from __future__ import annotations

import html
import re
from typing import Any

from markdown import Markdown
from markdown.extensions import Extension
from markdown.inlinepatterns import InlineProcessor
from markdown.preprocessors import Preprocessor

BLOCK = re.compile(r"^```math\n(.*?)\n```$", re.MULTILINE | re.DOTALL)
INLINE = r"\$`([^`]+)`\$"


def mathml(latex: str, display: str = "inline") -> str:
    r"""A formula as MathML, with its LaTeX as the text for those who cannot see it.

    >>> mathml("d")
    '<math xmlns="http://www.w3.org/1998/Math/MathML" display="inline" alttext="d"><mrow><mi>d</mi></mrow></math>'
    """
    try:
        from latex2mathml.converter import convert
    except ImportError as error:
        raise ImportError("formulas need latex2mathml: pip install 'attnlab[docs]'") from error
    made: str = convert(latex, display=display)
    aligned = ' class="align"' if "{align*}" in latex else ""
    return made.replace(">", f'{aligned} alttext="{html.escape(latex)}">', 1)


class _Blocks(Preprocessor):
    def run(self, lines: list[str]) -> list[str]:
        def typeset(found: re.Match[str]) -> str:
            made = f'<div class="formula" data-search-exclude>{mathml(" ".join(found[1].split()), "block")}</div>'
            return f"\n{self.md.htmlStash.store(made)}\n"

        return BLOCK.sub(typeset, "\n".join(lines)).split("\n")


class _Inline(InlineProcessor):
    def handleMatch(self, m: re.Match[str], data: str) -> tuple[str, int, int]:
        return self.md.htmlStash.store(mathml(m[1])), m.start(0), m.end(0)


class Formulas(Extension):
    """The two ways to write a formula, read before code blocks and code spans are."""

    def extendMarkdown(self, md: Markdown) -> None:
        md.preprocessors.register(_Blocks(md), "math_block", 26)  # superfences is at 25
        md.inlinePatterns.register(_Inline(INLINE, md), "math_inline", 195)  # code spans are at 190


def on_config(config: Any) -> Any:
    """What mkdocs calls once its configuration is read."""
    config.markdown_extensions.append(Formulas())
    return config
