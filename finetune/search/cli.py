"""`passerby index` and `passerby search`."""

import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pipeline.contracts.attributes import AttributeSpace
from pipeline.contracts.errors import ConfigError

if TYPE_CHECKING:
    from finetune.search.query import Hit, SearchEngine

PATH = click.Path(path_type=Path)


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--checkpoint", type=PATH, required=True, help="Checkpoint of any method, or the folder of a training.")
@click.option("--out", type=PATH, default=Path("runs/index"), show_default=True)
@click.option("--device", default="auto", show_default=True)
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def index(folder: Path, checkpoint: Path, out: Path, device: str, as_json: bool) -> None:
    """Embed the pictures of FOLDER. Run it again to go on, or to take in new pictures."""
    from finetune.search.index import build_index

    report = build_index(folder, checkpoint, out, device, lambda line: click.echo(line, err=True))
    click.echo(json.dumps(report) if as_json else f"{out}: {report['images']} pictures, {report['skipped']} could not be read")


@click.command()
@click.argument("text", required=False)
@click.option("--index", "index_folder", type=PATH, default=Path("runs/index"), show_default=True)
@click.option("--count", default=10, show_default=True, type=click.IntRange(1))
@click.option("--shortlist", default=128, show_default=True, type=click.IntRange(1), help="Pictures that the matching head looks at.")
@click.option("--filter", "filters", multiple=True, metavar="NAME=0|1", help="Only pictures likelier to have this label; may be repeated.")
@click.option("--space", type=click.Choice(("person27", "challenge21")), default="person27", show_default=True)
@click.option("--html", type=PATH, help="Also write a contact sheet.")
@click.option("--serve", is_flag=True, help="Open a page on this machine instead of answering one query.")
@click.option("--port", default=8765, show_default=True, type=click.IntRange(0, 65535))
@click.option("--device", default="auto", show_default=True)
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def search(
    text: str | None,
    index_folder: Path,
    count: int,
    shortlist: int,
    filters: tuple[str, ...],
    space: str,
    html: Path | None,
    serve: bool,
    port: int,
    device: str,
    as_json: bool,
) -> None:
    """Pictures of an index that TEXT describes, best first, with what speaks for them."""
    if not serve and text is None:
        raise click.UsageError("give a TEXT, or --serve")
    from finetune.methods.start import open_searcher
    from finetune.search.index import open_index
    from finetune.search.query import SPACES, SearchEngine
    from pretrain.engine import pick_device

    wanted = _filters(filters)
    opened = open_index(index_folder)
    engine = SearchEngine(opened, open_searcher(opened.checkpoint, pick_device(device)), SPACES[space])
    if serve:
        _serve(engine, port)
        return
    assert text is not None
    hits = engine.search(text, count, shortlist, wanted)
    if html:
        from finetune.search.page import contact_sheet
        from pipeline.fileio import write_bytes

        write_bytes(html, contact_sheet(text, hits, engine.space).encode())
    if as_json:
        click.echo(json.dumps({"query": text, "hits": [hit.to_json() for hit in hits]}, ensure_ascii=False))
    else:
        _show(hits, engine.space)


def _serve(engine: "SearchEngine", port: int) -> None:
    from finetune.search.server import make_server

    server = make_server(engine, port)
    click.echo(f"http://127.0.0.1:{server.server_address[1]}/  (Ctrl-C ends it)")
    with suppress(KeyboardInterrupt), server:
        server.serve_forever()


def _show(hits: Sequence["Hit"], space: AttributeSpace) -> None:
    if not hits:
        click.echo("no picture of the index passes the filters", err=True)
    for hit in hits:
        match = "" if hit.match is None else f"  match {hit.match:7.3f}"
        why = "; ".join(map(str, hit.reasons(space, 3)))
        click.echo(f"{hit.rank:3}  {hit.score:7.3f}  cosine {hit.similarity:6.3f}{match}  {hit.image}  {why}")


def _filters(items: tuple[str, ...]) -> dict[str, int]:
    chosen: dict[str, int] = {}
    for item in items:
        name, _, label = item.partition("=")
        if label not in ("0", "1"):
            raise ConfigError(f"--filter {item!r}; accepted: NAME=0 or NAME=1")
        if chosen.setdefault(name, int(label)) != int(label):
            raise ConfigError(f"--filter {name}=0 and {name}=1: no picture has both; give one of them")
    return chosen
