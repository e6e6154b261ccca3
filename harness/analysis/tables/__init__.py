"""Exhibits as tables: the same rows as text, Markdown, LaTeX and CSV."""
