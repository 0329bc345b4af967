"""Reports: values → rich tables, JSON documents, one self-contained HTML page.

A report is a frozen dataclass with ``document()`` (what ``--json`` prints) and
``__rich_console__`` (what people read).  Nothing here prints, and rich is imported only
when something is rendered.
"""
