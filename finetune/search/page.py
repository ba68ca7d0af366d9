"""Results as one self-contained HTML page: pictures as small data URLs, scores, reasons. Everything that comes from data is escaped."""

import io
from collections.abc import Sequence
from html import escape
from pathlib import Path

from PIL import Image

from finetune.search.pictures import upright
from finetune.search.query import Hit, Reason
from pipeline.contracts.attributes import AttributeSpace
from pipeline.pictures import jpeg_url
from pretrain.pictures import UNREADABLE

HEIGHT_PX = 256
STYLE = (Path(__file__).parent / "page.css").read_text(encoding="utf-8")


def contact_sheet(text: str, hits: Sequence[Hit], space: AttributeSpace, box: str = "", filters: str = "", script: str = "") -> str:
    """A whole HTML document. box, filters and script: of the page that searches (`finetune.search.server`), HTML already."""
    figures = "\n".join(_figure(hit, space) for hit in hits)
    found = f"<div class='hits'>{figures}</div>" if hits else "<p class='note'>Nothing to show.</p>"
    head = f"<meta charset='utf-8'><meta name='viewport' content='width=device-width'><title>{escape(text)}</title><style>{STYLE}</style>"
    body = f"<header>{box}<h1>{escape(text)}</h1></header><div class='page'>{filters}<main>{found}</main></div>"
    whole = f"<form>{body}</form>" if box else body.replace("class='page'", "")
    return f"<!doctype html><html lang='en'><head>{head}</head><body>{whole}{script}</body></html>"


def _figure(hit: Hit, space: AttributeSpace) -> str:
    match = "" if hit.match is None else f" · match {hit.match:.3f}"
    reasons = "".join(map(_reason, hit.reasons(space)))
    image = f"<img class='view' alt='{escape(hit.image, quote=True)}' src='{thumbnail(Path(hit.path))}'>"
    scores = f"<div class='scores'>score {hit.score:.3f} · cosine {hit.similarity:.3f}{match}</div>"
    caption = f"<div class='name'>{hit.rank}. {escape(hit.image)}</div>{scores}<ul class='why'>{reasons}</ul>"
    return f"<figure>{image}<figcaption>{caption}</figcaption></figure>"


def _reason(reason: Reason) -> str:
    """A bar as long as the probability."""
    share = f"{reason.probability:.0%}"
    return f"<li><i style='width:{share}'></i><b>{share}</b><span>{escape(short(reason.text))}</span></li>"


def short(prompt: str) -> str:
    """ "the person wears black upper clothes" -> "wears black upper clothes", for places where it is clear who is meant."""
    for start in ("the person ", "a person ", "the picture "):
        prompt = prompt.removeprefix(start)
    return prompt


def thumbnail(path: Path) -> str:
    """A data URL, empty for a picture that cannot be read."""
    try:
        with Image.open(path) as image:
            small = upright(image)
            small.thumbnail((2 * HEIGHT_PX, HEIGHT_PX))
    except UNREADABLE:
        return ""
    data = io.BytesIO()
    small.save(data, "JPEG", quality=85)
    return jpeg_url(data.getvalue())
