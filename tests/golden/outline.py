"""The outline of a report: what a reader finds on the page, without its numbers."""

from __future__ import annotations

import html.parser

__all__ = ["outline_of"]


class _Outline(html.parser.HTMLParser):
    """Ids of sections and figures, headings, and the heads of tables."""

    def __init__(self) -> None:
        super().__init__()
        self.outline: dict[str, list[str]] = {"sections": [], "headings": [], "figures": [], "tables": []}
        self._into: list[str] | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        if tag == "section":
            self.outline["sections"].append(attributes.get("id") or "")
        elif tag in ("h1", "h2", "h3"):
            self.outline["headings"].append(f"{tag} ")
            self._into = self.outline["headings"]
        elif tag == "thead":
            self.outline["tables"].append("")
        elif tag == "th" and self.outline["tables"] and attributes.get("scope") != "row":
            self.outline["tables"][-1] += " | "
            self._into = self.outline["tables"]
        elif "plot" in (attributes.get("class") or "").split():
            self.outline["figures"].append(attributes.get("id") or "")

    def handle_endtag(self, tag: str) -> None:
        if tag in ("h1", "h2", "h3", "th"):
            self._into = None

    def handle_data(self, data: str) -> None:
        if self._into is not None:
            self._into[-1] += data


def outline_of(page: str) -> dict[str, list[str]]:
    """Sections, headings, figures and table heads of an HTML page, in its order."""
    parser = _Outline()
    parser.feed(page)
    return {name: [" ".join(text.split()) for text in texts] for name, texts in parser.outline.items()}
