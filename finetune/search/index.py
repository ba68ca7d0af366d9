"""A folder of pictures to an index of embeddings: `passerby index`. Kill it at any time and run it again.

INDEX/parts/000000.npy (features) + .json (names, written last), INDEX/features.npy ((N, D) float32, memory-mapped by search),
INDEX/names.json, INDEX/index.faiss, INDEX/skipped.json (pictures that could not be read), INDEX/index.json (removed
first and written last: an index without it is not opened).
"""

import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from finetune.best import find_checkpoint
from finetune.methods.base import Searcher
from finetune.methods.start import open_searcher
from finetune.search.pictures import read_upright
from pipeline.contracts.errors import ConfigError, ContractError
from pipeline.fileio import read_json, sha256_file, write_bytes, write_json
from pretrain.checkpoint import MODEL_FILE, resolve
from pretrain.engine import pick_device

FORMAT = 1
EXTENSIONS = (".jpg", ".jpeg", ".png", ".bmp", ".webp")
CHUNK = 65_536  # rows that are in memory at once
PART = 1024  # pictures embedded between two writes
EXACT_UP_TO = 100_000  # more are searched through an inverted file
PROBED = 24  # of its lists
META = "index.json"


@dataclass(frozen=True, slots=True)
class Index:
    """An open index. features (N, D) float32, memory-mapped; names[i] is the picture of row i, below `pictures`."""

    folder: Path
    pictures: Path
    checkpoint: Path
    names: list[str]
    features: np.ndarray
    faiss: Any

    def nearest(self, query: np.ndarray, count: int, allowed: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """(D,) float32 -> cosines and row numbers, at most `count` of each, best first. allowed: the only rows that may be given."""
        if allowed is not None:
            return self._nearest_of(query, count, allowed)
        cosines, rows = self.faiss.search(np.ascontiguousarray(query[None], np.float32), min(count, len(self.names)))
        found = rows[0] >= 0  # lists that were looked at may hold fewer
        return cosines[0][found], rows[0][found]

    def _nearest_of(self, query: np.ndarray, count: int, allowed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Exact, whatever the index: a filter may leave rows that lie in lists which nobody would look at."""
        cosines = np.empty(len(allowed), np.float32)
        for start in range(0, len(allowed), CHUNK):
            rows = allowed[start : start + CHUNK]
            cosines[start : start + CHUNK] = self.features[rows] @ query
        order = np.argsort(-cosines, kind="stable")[:count]
        return cosines[order], allowed[order]


def build_index(pictures: Path, checkpoint: Path, out: Path, device: str = "auto", say: Callable[[str], None] = print) -> dict[str, Any]:
    """Embed what is new, drop what is gone. Raises ConfigError for an empty folder, ContractError if `out` is of another checkpoint."""
    names = list_pictures(pictures)
    folder = resolve(find_checkpoint(checkpoint))
    facts = {
        "format": FORMAT,
        "weights": sha256_file(folder / MODEL_FILE),
        "pictures": str(pictures.resolve()),
        "checkpoint": str(folder.resolve()),
    }
    _refuse_another(out, facts)
    known = _known(out)
    wanted = {name: _stamp(pictures / name) for name in names}
    new = [name for name in names if known.get(name, (None,))[0] != wanted[name]]
    searcher = open_searcher(folder, pick_device(device)) if new else None  # before anything is written: it may not load
    write_json(out / "parts" / "source.json", facts)
    if searcher:
        _embed(searcher, pictures, new, wanted, out, say)
    return _finish(out, names, facts)


def open_index(folder: Path) -> Index:
    """Raises ConfigError if there is no whole index, ContractError if its parts do not belong together."""
    import faiss

    if not (folder / META).is_file():
        raise ConfigError(f"{folder} holds no whole index (no {META}); run `passerby index FOLDER --checkpoint C --out {folder}`")
    count, pictures, checkpoint = _part(folder / META, _facts)
    names = _part(folder / "names.json", lambda path: json.loads(path.read_text(encoding="utf-8")))
    features = _part(folder / "features.npy", lambda path: np.load(path, mmap_mode="r"))
    index = _part(folder / "index.faiss", lambda path: faiss.read_index(str(path), faiss.IO_FLAG_MMAP))
    if not len(names) == len(features) == index.ntotal == count:
        raise ContractError(f"{folder}: {len(names)} names, {len(features)} features, {index.ntotal} indexed; run `passerby index` again")
    if hasattr(index, "nprobe"):
        index.nprobe = PROBED
    return Index(folder, pictures, checkpoint, names, features, index)


def _facts(path: Path) -> tuple[int, Path, Path]:
    facts = read_json(path)
    return facts["images"], Path(facts["pictures"]), Path(facts["checkpoint"])


def _part(path: Path, read: Callable[[Path], Any]) -> Any:
    """One file of an index. Raises ContractError naming it if it cannot be read."""
    try:
        return read(path)
    except (OSError, ValueError, RuntimeError, EOFError, KeyError, TypeError) as err:
        raise ContractError(f"{path} is damaged or missing; delete {path.parent} and run `passerby index` again") from err


def make_faiss(features: np.ndarray) -> Any:
    """Inner products: exact for small sets, an inverted file with sqrt(N) lists for large ones."""
    import faiss

    count, dim = features.shape
    if count <= EXACT_UP_TO:
        index: Any = faiss.IndexFlatIP(dim)
    else:
        lists = int(count**0.5)
        index = faiss.IndexIVFFlat(faiss.IndexFlatIP(dim), dim, lists, faiss.METRIC_INNER_PRODUCT)
        sample = np.random.default_rng(0).choice(count, min(count, 40 * lists), replace=False)
        index.cp.niter = 8
        index.train(np.ascontiguousarray(features[np.sort(sample)]))
        index.nprobe = PROBED
    for start in range(0, count, CHUNK):
        index.add(np.ascontiguousarray(features[start : start + CHUNK]))
    return index


def list_pictures(folder: Path) -> list[str]:
    """Sorted paths below the folder. Raises ConfigError if there is none."""
    names = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.suffix.lower() in EXTENSIONS and p.is_file())
    if not names:
        raise ConfigError(f"{folder} holds no pictures; accepted: {', '.join(EXTENSIONS)}, also in folders below it")
    return names


def _embed(
    searcher: Searcher, pictures: Path, names: Sequence[str], stamps: dict[str, list[int]], out: Path, say: Callable[[str], None]
) -> None:
    number = len(list((out / "parts").glob("*.npy")))
    for start in range(0, len(names), PART):
        chunk = names[start : start + PART]
        good: list[str] = []
        skipped: dict[str, str] = {}
        rows: list[np.ndarray] = []
        for name, pixels in _readable(searcher, pictures, chunk, skipped):
            good.append(name)
            rows.append(pixels)
        batches = [torch.from_numpy(np.stack(rows[i : i + 64])) for i in range(0, len(rows), 64)]
        features = [searcher.embed_images(batch).feat.cpu().numpy() for batch in batches]
        stem = out / "parts" / f"{number:06d}"
        _save_array(stem.with_suffix(".npy"), np.concatenate(features) if features else np.zeros((0, 0), np.float32))
        write_json(stem.with_suffix(".json"), {"names": good, "stamps": [stamps[n] for n in good], "skipped": skipped})
        number += 1
        say(f"{start + len(chunk)} of {len(names)} new pictures embedded, {len(skipped)} unreadable in this part")


def _readable(searcher: Searcher, pictures: Path, names: Sequence[str], skipped: dict[str, str]) -> Iterator[tuple[str, np.ndarray]]:
    for name in names:
        path = pictures / name
        try:
            yield name, searcher.pixels(read_upright(path), str(path))
        except (ContractError, OSError) as err:
            skipped[name] = str(err)


def _known(out: Path) -> dict[str, tuple[list[int], int, int]]:
    """name -> (stamp, part, row) of the newest part that has it."""
    known = {}
    for path in sorted((out / "parts").glob("[0-9]*.json")):
        part = read_json(path)
        for row, (name, stamp) in enumerate(zip(part["names"], part["stamps"], strict=True)):
            known[name] = (stamp, int(path.stem), row)
    return known


def _finish(out: Path, names: Sequence[str], facts: dict[str, Any]) -> dict[str, Any]:
    import faiss

    known = _known(out)
    kept = [name for name in names if name in known]
    if not kept:
        raise ContractError(f"{out}: no picture of {facts['pictures']} could be read; see {out / 'parts'}")
    (out / META).unlink(missing_ok=True)  # first: names, features and lists of an older index no longer go together
    features = _gathered(out, [known[name][1:] for name in kept])
    write_bytes(out / "names.json", json.dumps(kept, ensure_ascii=False).encode())
    with _temporary(out / "index.faiss") as path:
        faiss.write_index(make_faiss(features), str(path))
    refused = {name: text for path in sorted((out / "parts").glob("[0-9]*.json")) for name, text in read_json(path)["skipped"].items()}
    absent = set(names) - set(kept)
    skipped = {name: text for name, text in refused.items() if name in absent}
    write_json(out / "skipped.json", skipped)
    report = {**facts, "images": len(kept), "dim": features.shape[1], "skipped": len(skipped)}
    write_json(out / META, report)
    return report


def _refuse_another(out: Path, facts: dict[str, Any]) -> None:
    path = out / "parts" / "source.json"
    if not path.is_file():
        return
    for name in ("format", "weights", "pictures"):
        if (found := read_json(path).get(name)) != facts[name]:
            raise ContractError(f"{out} is an index with {name} {found!r}, asked for is {facts[name]!r}; delete it, or give another --out")


def _stamp(path: Path) -> list[int]:
    stat = path.stat()
    return [stat.st_size, stat.st_mtime_ns]


def _gathered(out: Path, places: Sequence[tuple[int, int]]) -> np.ndarray:
    """Row i is row places[i][1] of part places[i][0]; written to features.npy part by part and given back memory-mapped."""
    dim = np.load(out / "parts" / f"{places[0][0]:06d}.npy", mmap_mode="r").shape[1]
    wanted: dict[int, list[int]] = {}
    for row, (number, _) in enumerate(places):
        wanted.setdefault(number, []).append(row)
    with _temporary(out / "features.npy") as path:
        features = np.lib.format.open_memmap(path, "w+", np.float32, (len(places), dim))
        for number, rows in wanted.items():
            part = np.load(out / "parts" / f"{number:06d}.npy")
            features[rows] = part[[places[row][1] for row in rows]]
        features.flush()
    return np.load(out / "features.npy", mmap_mode="r")


def _save_array(path: Path, array: np.ndarray) -> None:
    with _temporary(path) as temporary:
        np.save(temporary, array)


@contextmanager
def _temporary(path: Path) -> Iterator[Path]:
    """A name to write to; the file gets the name `path` when the block ends well."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp.npy")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
