"""What an agent offers, as pages for people: HTML inside Airflow or in a file, and Markdown.

Everything an agent says of itself is shown as text: none of it becomes markup of ours, a link or a script. `content`
is what pages say, made from the registry's rows; `html_pages` and `markdown_page` write it down.
"""

from scaffolder.agents.documentation.content import sort_endpoints
from scaffolder.agents.documentation.html_pages import (
    MAX_OPERATIONS_ON_PAGE,
    render_agents,
    render_html,
    render_operation,
)
from scaffolder.agents.documentation.markdown_page import render_markdown

__all__ = [
    "MAX_OPERATIONS_ON_PAGE",
    "render_agents",
    "render_html",
    "render_markdown",
    "render_operation",
    "sort_endpoints",
]
