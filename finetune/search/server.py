"""A search page on the loopback interface: a text box, filters by attribute, results with scores and reasons. Standard library only."""

from base64 import b64encode
from hashlib import sha256
from html import escape
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock
from urllib.parse import parse_qs, urlsplit

from finetune.search.page import contact_sheet, short
from finetune.search.query import SearchEngine
from pipeline.contracts.errors import ConfigError, ProjectError

HOST = "127.0.0.1"
MOST = 100
SCRIPT = "document.forms[0].addEventListener('change', e => { if (e.target.type == 'radio') e.target.form.requestSubmit() })"
"""A filter acts as soon as it is chosen; without scripts, the button does it."""
POLICY = "; ".join(
    (
        "default-src 'none'",
        "img-src data:",
        "style-src 'unsafe-inline'",
        "form-action 'self'",
        f"script-src 'sha256-{b64encode(sha256(SCRIPT.encode()).digest()).decode()}'",
    )
)


def make_server(engine: SearchEngine, port: int = 0) -> ThreadingHTTPServer:
    """Bound and not yet serving; port 0 takes a free one. Answers to other host names than loopback's are refused.

    Raises ConfigError for a port that is taken.
    """
    lock = Lock()  # torch is asked by one request at a time

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            host = self.headers.get("Host", "").rsplit(":", 1)[0]
            if host not in (HOST, "localhost"):
                return self._send(HTTPStatus.FORBIDDEN, "only for this machine")
            parts = urlsplit(self.path)
            if parts.path != "/":
                return self._send(HTTPStatus.NOT_FOUND, "there is one page, /")
            fields = {name: values[-1] for name, values in parse_qs(parts.query).items()}
            with lock:
                self._send(HTTPStatus.OK, answer(engine, fields))

        def _send(self, status: HTTPStatus, page: str) -> None:
            body = page.encode()
            self.send_response(status)
            for name, value in (("Content-Type", "text/html; charset=utf-8"), ("Content-Length", str(len(body)))):
                self.send_header(name, value)
            self.send_header("Content-Security-Policy", POLICY)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    try:
        return ThreadingHTTPServer((HOST, port), Handler)
    except OSError as err:
        raise ConfigError(f"--port {port} of {HOST} cannot be listened on ({err.strerror}); give another one, or 0 for any") from err


def answer(engine: SearchEngine, fields: dict[str, str]) -> str:
    """The page for the fields of the form: q, n and one per attribute ("", "0" or "1"). A mistake is said on the page."""
    text = fields.get("q", "")
    filters = {name: int(fields[name]) for name in engine.space.names if fields.get(name) in ("0", "1")}
    count = _count(fields.get("n", ""))
    title, hits = f"Search in {len(engine.index.names):,} pictures", []
    if text.strip():
        try:
            hits = engine.search(text, count, filters=filters)
            title = f"{len(hits)} of {len(engine.index.names):,} pictures for “{text}”"
        except ProjectError as err:
            title = f"{text}: {err}"
    elif filters:
        title = "Describe someone; the filters then choose among the pictures that fit"
    return contact_sheet(title, hits, engine.space, _box(text, count), _filters(engine, filters), f"<script>{SCRIPT}</script>")


def _count(text: str) -> int:
    """1 to MOST; 12 for what is no number of pictures."""
    number = int(text[:9]) if text.isascii() and text.isdigit() else 0
    return min(MOST, number) or 12


def _box(text: str, count: int) -> str:
    words = f"value='{escape(text, quote=True)}' placeholder='a woman in a red coat with a backpack' aria-label='description' autofocus"
    number = f"<input type='number' name='n' min='1' max='{MOST}' value='{count}' aria-label='number of results'>"
    return f"<div class='box'><input type='search' name='q' {words}>{number}<button>Search</button></div>"


def _filters(engine: SearchEngine, chosen: dict[str, int]) -> str:
    """A choice of three for every attribute, label 0, label 1 or any, as small buttons."""
    groups = []
    for attribute in engine.space.attributes:
        options = [("", "any"), *((str(label), short(prompt)) for label, prompt in enumerate(attribute.prompts))]
        now = str(chosen.get(attribute.name, ""))
        chips = "".join(_chip(attribute.name, value, text, value == now) for value, text in options)
        groups.append(f"<fieldset><legend>{escape(attribute.name.replace('_', ' '))}</legend>{chips}</fieldset>")
    return f"<aside><h2>Only pictures that probably show</h2>{''.join(groups)}</aside>"


def _chip(name: str, value: str, text: str, checked: bool) -> str:
    box = f"<input type='radio' name='{escape(name, quote=True)}' value='{value}'{' checked' if checked else ''}>"
    return f"<label class='chip'>{box}<span>{escape(text)}</span></label>"
