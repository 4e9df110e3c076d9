"""Pages as a browser reads them: their elements, and what their cards are filtered by."""

from __future__ import annotations

import json
from html.parser import HTMLParser


class Elements(HTMLParser):
    """Every element of a page with its attributes, as a browser reads it."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[tuple[int, str]] = []
        self.feed(page)

    def handle_data(self, data: str) -> None:
        self.words.append((len(self.found) - 1, data))

    def texts(self, tag: str, **attributes: str) -> list[str]:
        """The text right behind each opening tag."""
        wanted = self.of(tag, **attributes)
        at = [place for place, (_, found) in enumerate(self.found) if any(found is one for one in wanted)]
        return ["".join(data for place, data in self.words if place == one).strip() for one in at]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def of(self, tag: str, **attributes: str) -> list[dict[str, str | None]]:
        wanted = {name.rstrip("_"): value for name, value in attributes.items()}
        return [found for name, found in self.found if name == tag and wanted.items() <= found.items()]


def kinds(elements: Elements) -> list[str]:
    """The kind of every card, in their order."""
    return [json.loads(found["data-card"] or "")["facets"]["kind"][0] for found in elements.of("article")]


def columns(elements: Elements) -> list[str]:
    """The heads of all columns of all tables."""
    return elements.texts("th", scope="col")
