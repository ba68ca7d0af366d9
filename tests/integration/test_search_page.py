"""The search page in a real browser: a query is typed, a filter is clicked, answers change, pictures load."""

import shutil
import threading
from pathlib import Path

import pytest
import torch

from finetune.config import FinetuneConfig
from finetune.initialize import start_model
from finetune.methods.start import open_searcher
from finetune.search.index import build_index, open_index
from finetune.search.query import SearchEngine
from finetune.search.server import make_server
from generation.embedded.miniature import MiniatureSizes, make_miniature
from pipeline.config import build
from pretrain.checkpoint import save_model
from tests.integration.chromium import browser, find_browser
from tests.unit.finetune.conftest import MODEL

BROWSER = find_browser()
SIZES = MiniatureSizes(train_people=1, train_vehicles=2, val_people=1, val_vehicles=1, test_people=3, test_vehicles=1)
NAMES = "[...document.querySelectorAll('.name')].map(e => e.textContent)"
LOADED = "[...document.querySelectorAll('figure img')].every(e => e.complete && e.naturalWidth > 0)"
TEXT = "a woman in a red coat with a backpack"


@pytest.fixture(scope="module")
def engine(tmp_path_factory) -> SearchEngine:
    folder = tmp_path_factory.mktemp("search")
    make_miniature(folder / "miniature", 5, SIZES)
    torch.manual_seed(0)
    tree = {"out": "unused", "data": {"folder": "unused"}, "model": MODEL}
    start = start_model(build(FinetuneConfig, tree, "test"))
    save_model(folder / "checkpoint", start.model, start.tokenizer, {})
    shutil.copytree(folder / "miniature" / "test" / "test_images", folder / "pictures")
    build_index(folder / "pictures", folder / "checkpoint", folder / "index", "cpu", lambda line: None)
    return SearchEngine(open_index(folder / "index"), open_searcher(folder / "checkpoint", torch.device("cpu")))


@pytest.fixture(scope="module")
def address(engine):
    server = make_server(engine)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/"
    server.shutdown()
    server.server_close()


@pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine (Debian: apt-get install chromium)")
def test_a_query_and_a_filter_in_a_real_browser(engine, address, tmp_path: Path):
    values = {name: [engine.attributes(row)[name] >= 0.5 for row in range(len(engine.index.names))] for name in engine.space.names}
    split = next(name for name, found in values.items() if 0 < sum(found) < len(found))
    with browser(BROWSER, tmp_path / "profile") as page:
        page.open(address)
        assert page.value("document.activeElement.name") == "q"
        assert page.value(NAMES) == []
        page.type(TEXT)
        page.until("document.querySelectorAll('figure').length > 0")
        everything = page.value(NAMES)
        assert everything == [f"{hit.rank}. {hit.image}" for hit in engine.search(TEXT, 12)]
        page.until(LOADED)
        assert page.value("document.querySelector('input[name=q]').value") == TEXT
        assert "%" in page.value("document.querySelector('.why').textContent")

        for label in (0, 1):
            page.click(f"input[name={split}][value='{label}']")
            page.until(f"location.search.includes('{split}={label}') && document.readyState === 'complete'")
            filtered = page.value(NAMES)
            assert len(filtered) == sum(found == bool(label) for found in values[split])
            assert 0 < len(filtered) < len(everything)
            assert page.value(f"document.querySelector('input[name={split}]:checked').value") == str(label)
            page.until(LOADED)
        page.screenshot(tmp_path / "page.png")
        assert (tmp_path / "page.png").stat().st_size > 20_000
        assert page.complaints() == []
        assert all(url.startswith((address, "data:", "about:")) for url in page.addresses())
