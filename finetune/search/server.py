"""A search page on the loopback interface: a text box, filters by attribute, results with scores and reasons. Standard library only."""

from html import escape
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock
from urllib.parse import parse_qs, urlsplit

from finetune.search.page import contact_sheet
from finetune.search.query import SearchEngine
from pipeline.contracts.errors import ProjectError

HOST = "127.0.0.1"
MOST = 100


def make_server(engine: SearchEngine, port: int = 0) -> ThreadingHTTPServer:
    """Bound and not yet serving; port 0 takes a free one. Answers to other host names than loopback's are refused."""
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
            self.send_header("Content-Security-Policy", "default-src 'none'; img-src data:; style-src 'unsafe-inline'; form-action 'self'")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    return ThreadingHTTPServer((HOST, port), Handler)


def answer(engine: SearchEngine, fields: dict[str, str]) -> str:
    """The page for the fields of the form: q, n and one per attribute ("", "0" or "1"). A mistake is said on the page."""
    text = fields.get("q", "")
    filters = {name: int(fields[name]) for name in engine.space.names if fields.get(name) in ("0", "1")}
    count = min(MOST, int(fields["n"])) if fields.get("n", "").isdigit() and int(fields["n"]) else 12
    form = _form(engine, text, filters, count)
    if not text.strip():
        return contact_sheet("Search", [], engine.space, form)
    try:
        return contact_sheet(text, engine.search(text, count, filters=filters), engine.space, form)
    except ProjectError as err:
        return contact_sheet(f"{text}: {err}", [], engine.space, form)


def _form(engine: SearchEngine, text: str, filters: dict[str, int], count: int) -> str:
    choices = []
    for attribute in engine.space.attributes:
        chosen = filters.get(attribute.name)
        options = "".join(
            f"<option value='{label}'{' selected' if chosen == label else ''}>{escape(prompt)}</option>"
            for label, prompt in enumerate(attribute.prompts)
        )
        choices.append(
            f"<label>{escape(attribute.name)}<br><select name='{attribute.name}'><option value=''>any</option>{options}</select></label>"
        )
    box = f"<input type='text' name='q' value='{escape(text, quote=True)}' placeholder='a woman in a red coat with a backpack' autofocus>"
    number = f"<input type='number' name='n' min='1' max='{MOST}' value='{count}'>"
    return f"<form>{box}{number}<button>Search</button><details><summary>Filters</summary>{''.join(choices)}</details></form>"
