"""Index and search: the order is that of a plain matrix product, an index goes on where it stopped, mistakes are named."""

import json
import shutil
import threading
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import Request, urlopen

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import ExifTags, Image

from finetune.cli import finetune
from finetune.config import FinetuneConfig
from finetune.initialize import start_model
from finetune.methods.start import open_searcher
from finetune.search import index as index_module
from finetune.search.index import build_index, make_faiss, open_index
from finetune.search.page import contact_sheet
from finetune.search.query import SearchEngine
from finetune.search.server import _count, make_server
from pipeline.config import build
from pipeline.contracts.errors import ConfigError, ContractError
from pretrain.checkpoint import save_model

CPU = torch.device("cpu")
TEXT = "a woman in a red coat with a backpack"


def quiet(line: str) -> None: ...


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory, miniature) -> Path:
    from tests.unit.finetune.conftest import MODEL

    tree = {"out": "unused", "data": {"folder": str(miniature)}, "model": MODEL}
    start = start_model(build(FinetuneConfig, tree, "test"))
    folder = tmp_path_factory.mktemp("model") / "checkpoint"
    save_model(folder, start.model, start.tokenizer, {})
    return folder


@pytest.fixture(scope="module")
def pictures(tmp_path_factory, miniature) -> Path:
    folder = tmp_path_factory.mktemp("gallery") / "pictures"
    shutil.copytree(miniature / "test" / "test_images", folder / "below")
    (folder / "broken.jpg").write_bytes(b"no picture")
    return folder


@pytest.fixture(scope="module")
def indexed(tmp_path_factory, checkpoint, pictures) -> Path:
    out = tmp_path_factory.mktemp("index") / "index"
    build_index(pictures, checkpoint, out, "cpu", quiet)
    return out


@pytest.fixture(scope="module")
def engine(indexed, checkpoint) -> SearchEngine:
    return SearchEngine(open_index(indexed), open_searcher(checkpoint, CPU))


def test_every_readable_picture_is_indexed_and_the_unreadable_one_is_counted(indexed, pictures):
    opened = open_index(indexed)
    assert opened.names == sorted(f"below/{path.name}" for path in (pictures / "below").iterdir())
    assert "not a readable picture" in json.loads((indexed / "skipped.json").read_text())["broken.jpg"]
    np.testing.assert_allclose(np.linalg.norm(opened.features, axis=1), 1, rtol=1e-5)


def test_the_shortlist_is_that_of_the_matrix_product(engine):
    query = engine.searcher.embed_texts([TEXT]).feat.numpy()
    cosines, rows = engine.index.nearest(query[0], 5)
    product = query @ np.asarray(engine.index.features).T
    np.testing.assert_allclose(cosines, np.sort(product[0])[::-1][:5], rtol=1e-5)
    assert len(set(rows)) == 5
    allowed = np.array([1, 4, 7])
    cosines, rows = engine.index.nearest(query[0], 5, allowed)
    assert sorted(rows) == allowed.tolist()
    np.testing.assert_allclose(cosines, np.sort(product[0][allowed])[::-1], rtol=1e-5)


def test_results_are_ordered_by_match_and_cosine_and_explained(engine):
    hits = engine.search(TEXT, 6)
    assert [hit.rank for hit in hits] == [1, 2, 3, 4, 5, 6]
    assert all(hit.score == pytest.approx(hit.match + hit.similarity) for hit in hits)
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    assert all(0 <= p <= 1 for p in hits[0].attributes.values())
    assert len(hits[0].attributes) == 27
    assert len(hits[0].reasons(engine.space)) == 5


def test_beyond_the_shortlist_cosines_decide(engine):
    hits = engine.search(TEXT, 12, shortlist=3)
    assert [hit.match is None for hit in hits] == [False] * 3 + [True] * 9
    rest = [hit.similarity for hit in hits[3:]]
    assert rest == sorted(rest, reverse=True)


def test_a_filter_keeps_the_pictures_likelier_to_have_the_label(engine):
    name = "gender"
    values = [engine.attributes(row)[name] for row in range(len(engine.index.names))]
    for label in (0, 1):
        hits = engine.search(TEXT, 50, filters={name: label})
        assert len(hits) == sum((value >= 0.5) == bool(label) for value in values)


@pytest.mark.parametrize(
    ("text", "filters", "message"),
    [(" ", {}, "the query is empty"), (TEXT, {"hats": 1}, "unknown attributes hats"), (TEXT, {"hat": 2}, "accepted: 0 or 1")],
)
def test_a_bad_query_is_refused(engine, text, filters, message):
    with pytest.raises(ConfigError, match=message):
        engine.search(text, filters=filters)


def test_a_killed_index_goes_on_and_equals_one_that_was_not(tmp_path, checkpoint, pictures, indexed, monkeypatch):
    monkeypatch.setattr(index_module, "PART", 4)
    calls = []

    def kill(line: str) -> None:
        calls.append(line)
        if len(calls) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_index(pictures, checkpoint, tmp_path / "i", "cpu", kill)
    with pytest.raises(ConfigError, match="no whole index"):
        open_index(tmp_path / "i")
    later: list[str] = []
    build_index(pictures, checkpoint, tmp_path / "i", "cpu", later.append)
    assert later[-1].startswith("5 of 5 new pictures")
    one, other = open_index(tmp_path / "i"), open_index(indexed)
    assert one.names == other.names
    np.testing.assert_allclose(one.features, other.features, atol=1e-6)


def test_new_and_removed_pictures_are_followed_and_nothing_else_is_embedded(tmp_path, checkpoint, pictures):
    copy, out = tmp_path / "copy", tmp_path / "i"
    shutil.copytree(pictures / "below", copy)
    build_index(copy, checkpoint, out, "cpu", quiet)
    gone, *_ = sorted(copy.iterdir())
    shutil.copy(gone, copy / "new.jpg")
    gone.unlink()
    said: list[str] = []
    assert build_index(copy, checkpoint, out, "cpu", said.append)["images"] == 12
    assert said == ["1 of 1 new pictures embedded, 0 unreadable in this part"]
    assert "new.jpg" in open_index(out).names
    assert gone.name not in open_index(out).names


@pytest.mark.parametrize("last", ["write_bytes", "make_faiss"])
def test_an_index_that_was_killed_while_it_was_written_anew_is_not_opened(last, tmp_path, checkpoint, pictures, monkeypatch):
    copy, out = tmp_path / "copy", tmp_path / "i"
    shutil.copytree(pictures / "below", copy)
    build_index(copy, checkpoint, out, "cpu", quiet)
    first, *_ = sorted(copy.iterdir())
    first.rename(copy / "zzz.jpg")  # as many pictures as before, in another order

    def kill(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(index_module, last, kill)
        with pytest.raises(KeyboardInterrupt):
            build_index(copy, checkpoint, out, "cpu", quiet)
    with pytest.raises(ConfigError, match="no whole index"):
        open_index(out)
    build_index(copy, checkpoint, out, "cpu", quiet)
    assert open_index(out).names[-1] == "zzz.jpg"


def test_an_index_of_another_folder_and_an_empty_folder_are_refused(tmp_path, checkpoint, pictures, indexed):
    with pytest.raises(ContractError, match="is an index with pictures"):
        build_index(pictures / "below", checkpoint, indexed, "cpu", quiet)
    with pytest.raises(ConfigError, match="holds no pictures"):
        build_index(tmp_path, checkpoint, tmp_path / "i", "cpu", quiet)


def test_a_large_index_is_searched_through_lists_and_finds_nearly_the_same(monkeypatch):
    monkeypatch.setattr(index_module, "EXACT_UP_TO", 500)
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(40, 16))
    features = centres[rng.integers(0, 40, 3000)] + 0.3 * rng.normal(size=(3000, 16))
    features = (features / np.linalg.norm(features, axis=1, keepdims=True)).astype(np.float32)
    found = make_faiss(features).search(features[:50], 10)[1]
    exact = np.argsort(-(features[:50] @ features.T), axis=1)[:, :10]
    recall = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(found, exact, strict=True)])
    assert recall > 0.9


def test_the_contact_sheet_holds_pictures_and_escapes_what_comes_from_data(engine):
    page = contact_sheet("<script>alert(1)</script>", engine.search(TEXT, 2), engine.space)
    assert page.count("data:image/jpeg;base64,") == 2
    assert "<script>" not in page


def test_the_commands_answer_in_json_and_html(indexed, tmp_path):
    arguments = [
        "search",
        TEXT,
        "--index",
        str(indexed),
        "--count",
        "2",
        "--json",
        "--html",
        str(tmp_path / "sheet.html"),
        "--device",
        "cpu",
    ]
    done = CliRunner().invoke(finetune, arguments, catch_exceptions=False)
    answer = json.loads(done.stdout)
    assert [hit["rank"] for hit in answer["hits"]] == [1, 2]
    assert TEXT in (tmp_path / "sheet.html").read_text()


def test_the_page_answers_on_loopback_only(engine):
    server = make_server(engine)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        query = urlencode({"q": TEXT, "n": 3, "gender": ""})
        page = urlopen(f"{address}/?{query}").read().decode()  # noqa: S310
        assert page.count("<figure>") == 3
        assert TEXT in page
        page = urlopen(f"{address}/?{urlencode({'q': '<b>x'})}").read().decode()  # noqa: S310
        assert "<b>x" not in page
        for path, headers in (("/other", {}), ("/", {"Host": "example.org"})):
            with pytest.raises(HTTPError):
                urlopen(Request(address + path, headers=headers))  # noqa: S310
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(("text", "count"), [("", 12), ("0", 12), ("-3", 12), ("x", 12), ("\u00b2", 12), ("7", 7), ("9" * 5000, 100)])
def test_the_page_takes_any_number_of_results(text, count):
    assert _count(text) == count


def test_a_taken_port_is_named(engine):
    with make_server(engine) as taken, pytest.raises(ConfigError, match=rf"--port {taken.server_address[1]} .*give another one"):
        make_server(engine, taken.server_address[1])


def test_index_and_matching_head_see_the_same_upright_picture(tmp_path, people, checkpoint):
    with Image.open(people / "val_0.jpg") as image:
        image.save(tmp_path / "a.png")
        exif = image.getexif()
        exif[ExifTags.Base.Orientation] = 3
        image.rotate(180).save(tmp_path / "b.png", exif=exif)
    build_index(tmp_path, checkpoint, tmp_path / "index", "cpu", quiet)
    opened = open_index(tmp_path / "index")
    assert np.array_equal(opened.features[0], opened.features[1])
    one, other = SearchEngine(opened, open_searcher(checkpoint, CPU)).search(TEXT, 2)
    assert one.match == pytest.approx(other.match, abs=1e-6)
