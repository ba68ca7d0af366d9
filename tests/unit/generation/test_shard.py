"""Accepted samples to shards, index and manifest, through the real runner."""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from generation.annotate import AnnotateStage
from generation.config import GenerationConfig, PromptsConfig, RunConfig, ShardConfig
from generation.embedded.render.person import sample_person
from generation.embedded.render.scene import render_person
from generation.images import encode_jpeg
from generation.near_duplicates import MAX_DISTANCE, perceptual_hash
from generation.prompts import image_items, prompt_rows
from generation.shard import write_shards
from generation.shard_writer import leftovers
from generation.split import prompt_identity
from pipeline.contracts.errors import StageError
from pipeline.contracts.manifest import ShardManifest
from pipeline.contracts.sample import INDEX_COLUMNS, decode_meta
from pipeline.contracts.stage import Drop, Item, Keep, Outcome
from pipeline.fileio import read_json, sha256_file
from pipeline.inputs import UnitInput, chained_input
from pipeline.paths import RunPaths
from pipeline.runner import run_units
from pipeline.tables import read_rows
from pipeline.tars import read_tar

NUM_UNITS = 2


class Drawn:
    """Stands for generate to caption: a render as the recropped picture, with all the columns that the stages before leave."""

    reads_images = False
    batch_size = 8
    name = "recrop"
    writes_images = True

    def __init__(self, drop: Sequence[int] = (), repeat: Sequence[int] = ()) -> None:
        self.drop, self.repeat = drop, repeat

    def setup(self) -> None: ...
    def teardown(self) -> None: ...

    def process(self, batch: Sequence[Item]) -> Sequence[Outcome]:
        return [self._one(item, int(item.key[:9])) for item in batch]

    def _one(self, item: Item, index: int) -> Outcome:
        if index in self.drop:
            return Drop("small_crop")
        rng = np.random.default_rng(0 if index in self.repeat else index)
        shown = render_person(sample_person(rng), rng).image
        caption = {"caption": item.row["prompt"], "captions": [item.row["prompt"]], "captioner": {"model": "x"}}
        made = {
            "seed": index,
            "generator": {"model": "x"},
            "measures": {"luma_std": 1.5},
            "keypoints": None,
            "crop_xyxy_px": [0, 0, 128, 256],
            "phash": perceptual_hash(shown),
        }
        return Keep({**made, **caption}, encode_jpeg(shown, 95))


def make_run(root: Path, config: GenerationConfig, drawn: Drawn) -> RunPaths:
    paths = RunPaths(root)
    rows = prompt_rows(config.prompts, config.run.seed)
    size, variants = config.run.unit_size, config.prompts.variants
    run_units(drawn, paths, range(NUM_UNITS), config_digest="d", inputs=lambda u: UnitInput(image_items(rows, u, size, variants), "i"))
    inputs = chained_input(paths, "recrop", None, False)
    run_units(AnnotateStage(config.annotate), paths, range(NUM_UNITS), config_digest="d", inputs=inputs)
    return paths


@pytest.fixture(scope="module")
def config() -> GenerationConfig:
    return GenerationConfig(
        run=RunConfig(seed=3, unit_size=8),
        prompts=PromptsConfig(num_prompts=8, variants=2),
        shard=ShardConfig(samples_per_shard=5, val_fraction=0.25, max_hash_distance=None),
    )


@pytest.fixture(scope="module")
def run(config: GenerationConfig, tmp_path_factory: pytest.TempPathFactory) -> RunPaths:
    paths = make_run(tmp_path_factory.mktemp("run"), config, Drawn(drop=(2,)))
    write_shards(config, paths, NUM_UNITS, "digest")
    return paths


def all_bytes(folder: Path) -> dict[str, str]:
    return {path.name: sha256_file(path) for path in sorted(folder.iterdir()) if path.is_file()}


def test_manifest_counts_hashes_and_names_everything(run: RunPaths) -> None:
    folder = run.stage("shard")
    manifest = ShardManifest.from_json(read_json(folder / "manifest.json"), "m")
    assert manifest.counts.kept == sum(manifest.split_counts.values()) == 14
    assert manifest.split_counts["val"] == 4  # two of eight prompts, one of the eight dropped before
    assert set(manifest.shards) == {path.name for path in folder.glob("*.tar")}
    for name, entry in manifest.shards.items():
        assert entry["sha256"] == sha256_file(folder / name)
        assert entry["bytes"] == (folder / name).stat().st_size
        assert entry["samples"] <= 5
    assert manifest.config_digest == "digest"
    assert not [path for path in folder.iterdir() if path.name.startswith(".")]


def test_index_finds_each_sample_by_offset(run: RunPaths) -> None:
    folder = run.stage("shard")
    index = read_rows(folder / "index.parquet")
    assert tuple(index[0]) == INDEX_COLUMNS
    for row in index:
        data = (folder / row["shard"]).read_bytes()
        image = data[row["image_offset"] : row["image_offset"] + row["image_bytes"]]
        meta = data[row["meta_offset"] : row["meta_offset"] + row["meta_bytes"]]
        assert hashlib.sha256(image + meta).hexdigest() == row["sha256"]
        assert image.startswith(b"\xff\xd8")
        assert decode_meta(meta, row["key"]).key == row["key"]
        assert row["shard"].startswith(row["split"])


def test_webdataset_reads_the_shards(run: RunPaths) -> None:
    import webdataset

    urls = [str(path) for path in sorted(run.stage("shard").glob("train-*.tar"))]
    samples = list(webdataset.WebDataset(urls, shardshuffle=False).decode("rgb8"))
    assert len(samples) == 10
    assert samples[0]["jpg"].shape == (256, 128, 3)
    assert samples[0]["json"]["caption"]
    assert {"attributes", "labels", "prompt", "licence", "schema"} <= samples[0]["json"].keys()


def test_tar_says_nothing_of_who_and_when(run: RunPaths) -> None:
    import tarfile

    with tarfile.open(next(run.stage("shard").glob("*.tar"))) as tar:
        assert {(m.mtime, m.uid, m.gid, m.uname, m.gname) for m in tar} == {(0, 0, 0, "", "")}


def test_no_prompt_is_in_both_splits_and_order_is_shuffled(run: RunPaths) -> None:
    sides: dict[str, set[str]] = {"train": set(), "val": set()}
    for path in run.stage("shard").glob("*.tar"):
        metas = [decode_meta(m.data, m.name) for m in read_tar(path) if m.name.endswith("json")]
        sides[path.name.split("-")[0]] |= {prompt_identity(m.prompt) for m in metas}
    assert not sides["train"] & sides["val"]
    index = read_rows(run.stage("shard") / "index.parquet")
    train = [row["key"] for row in index if row["split"] == "train"]
    assert train != sorted(train)  # shards do not follow the order of the prompts


def test_same_run_gives_same_bytes(run: RunPaths, config: GenerationConfig) -> None:
    before = all_bytes(run.stage("shard"))
    write_shards(config, run, NUM_UNITS, "digest")
    assert all_bytes(run.stage("shard")) == before


def test_repeated_pictures_are_dropped_and_stand_in_the_ledger(config: GenerationConfig, tmp_path: Path) -> None:
    paths = make_run(tmp_path, config, Drawn(repeat=(1, 4)))
    counts, _ = write_shards(replace(config, shard=replace(config.shard, max_hash_distance=0)), paths, NUM_UNITS, "d")
    assert counts.reasons["near_duplicate"] >= 4 + 2  # two variants of each prompt are drawn alike, prompts 1 and 4 like 0
    ledger = {row["key"]: row["reason"] for row in read_rows(paths.ledger("shard", 0))}
    assert ledger["000000000_00"] is None  # the smallest key of equal pictures stays
    assert ledger["000000001_00"] == ledger["000000004_01"] == "near_duplicate"
    assert list(ledger) == sorted(ledger)


def test_hash_is_deaf_to_jpeg_and_hears_another_person() -> None:
    from generation.images import decode_rgb

    rng = np.random.default_rng(1)
    one, two = (render_person(sample_person(rng), rng).image for _ in range(2))
    assert perceptual_hash(one) == perceptual_hash(decode_rgb(encode_jpeg(one, 80)))
    difference = int(perceptual_hash(one), 16) ^ int(perceptual_hash(two), 16)
    assert difference.bit_count() > MAX_DISTANCE


def test_a_stored_hash_is_used_and_the_picture_not_opened(config: GenerationConfig, tmp_path: Path) -> None:
    """Hashes that recrop stored decide, whatever the pictures show."""

    class Hashed(Drawn):
        def _one(self, item: Item, index: int) -> Outcome:
            outcome = super()._one(item, index)
            assert isinstance(outcome, Keep)
            return replace(outcome, row={**outcome.row, "phash": f"{0b111 if index == 5 else 1 << (4 * index):016x}"})

    paths = make_run(tmp_path, replace(config, prompts=replace(config.prompts, variants=1)), Hashed())
    shard = replace(config.shard, max_hash_distance=2)
    counts, _ = write_shards(replace(config, shard=shard), paths, NUM_UNITS, "d")
    ledger = {row["key"]: row["reason"] for row in read_rows(paths.ledger("shard", 0))}
    near = {key for key, reason in ledger.items() if reason == "near_duplicate"}
    assert near == {f"{i:09d}_00" for i in (1, 2, 3, 4, 5, 6, 7)}  # one bit each: two apart from the first
    assert counts.kept == 1


def test_shards_keep_a_size_in_bytes(run: RunPaths, config: GenerationConfig, tmp_path: Path) -> None:
    paths = make_run(tmp_path, config, Drawn())
    limit = 60_000
    write_shards(replace(config, shard=replace(config.shard, samples_per_shard=1000, max_shard_bytes=limit)), paths, NUM_UNITS, "d")
    sizes = {path.name: path.stat().st_size for path in paths.stage("shard").glob("train-*.tar")}
    assert len(sizes) > 1
    assert all(size <= limit for size in sizes.values())
    assert len(read_rows(paths.stage("shard") / "index.parquet")) == 16


def test_nothing_left_is_an_error_that_says_why(config: GenerationConfig, tmp_path: Path) -> None:
    paths = make_run(tmp_path, config, Drawn(drop=range(8)))
    with pytest.raises(
        StageError, match=r"no sample is left for the shards: recrop lost 16 of 16 \(16 small_crop\).*recrop.min_height_px$"
    ):
        write_shards(config, paths, NUM_UNITS, "d")
    assert not list(paths.stage("shard").iterdir())


def test_a_failure_leaves_the_earlier_shards_whole(run: RunPaths, config: GenerationConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    before = all_bytes(run.stage("shard"))

    def full(fd: int) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StageError, match="No space left on device"):
        write_shards(config, run, NUM_UNITS, "other")
    monkeypatch.undo()
    assert all_bytes(run.stage("shard")) == before
    assert not leftovers(run.stage("shard"))
