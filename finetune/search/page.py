"""Results as one self-contained HTML page: pictures as small data URLs, scores, reasons. Everything that comes from data is escaped."""

import base64
import io
from collections.abc import Sequence
from html import escape
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from finetune.search.query import Hit
from pipeline.contracts.attributes import AttributeSpace

HEIGHT_PX = 192
_STYLE = """body{font:15px system-ui,sans-serif;margin:2rem;background:#fff;color:#222}
.hits{display:flex;flex-wrap:wrap;gap:1rem}figure{margin:0;width:15rem;border:1px solid #ddd;border-radius:6px;padding:.6rem}
img{height:192px;max-width:100%;object-fit:contain}figcaption{font-size:13px;overflow-wrap:anywhere}
ul{margin:.3rem 0 0;padding-left:1rem;color:#555}
form{display:flex;flex-wrap:wrap;gap:.6rem;align-items:end;margin-bottom:1rem}
input[type=text]{width:32rem;font-size:1rem;padding:.3rem}"""


def contact_sheet(text: str, hits: Sequence[Hit], space: AttributeSpace, form: str = "") -> str:
    """A whole HTML document."""
    figures = "\n".join(_figure(hit, space) for hit in hits) or "<p>Nothing was found.</p>"
    head = f"<meta charset='utf-8'><title>{escape(text)}</title><style>{_STYLE}</style>"
    body = f"{form}<h1>{escape(text)}</h1><div class='hits'>{figures}</div>"
    return f"<!doctype html><html lang='en'><head>{head}</head><body>{body}</body></html>"


def _figure(hit: Hit, space: AttributeSpace) -> str:
    match = "" if hit.match is None else f", match {hit.match:.3f}"
    reasons = "".join(f"<li>{escape(reason)}</li>" for reason in hit.reasons(space))
    caption = f"<b>{hit.rank}. {escape(hit.image)}</b><br>score {hit.score:.3f}, cosine {hit.similarity:.3f}{match}<ul>{reasons}</ul>"
    return (
        f"<figure><img alt='{escape(hit.image, quote=True)}' src='{thumbnail(Path(hit.path))}'><figcaption>{caption}</figcaption></figure>"
    )


def thumbnail(path: Path) -> str:
    """A data URL, empty for a picture that cannot be read."""
    try:
        with Image.open(path) as image:
            small = image.convert("RGB")
            small.thumbnail((2 * HEIGHT_PX, HEIGHT_PX))
    except (OSError, UnidentifiedImageError):
        return ""
    data = io.BytesIO()
    small.save(data, "JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(data.getvalue()).decode()
