"""Faults that tests plant into a finished run, so that nothing else is wrong with it."""

import hashlib
import io
import json
import tarfile

from pipeline.fileio import sha256_file
from pipeline.lint import lint
from pipeline.tables import read_rows, write_rows
from pipeline.tars import read_tar


def texts(paths):
    return [f"{finding.file}: {finding.text}" for finding in lint(paths)]


def rewrite_record(paths, stage, unit, **changes):
    """Make the record agree with what a test has written, so that deeper checks are reached."""
    path = paths.done(stage, unit)
    record = json.loads(path.read_text())
    record["files"] = {name: sha256_file(paths.root / name) for name in record["files"]}
    path.write_text(json.dumps({**record, **changes}))


def rewrite_index(paths, change):
    path = paths.stage("shard") / "index.parquet"
    write_rows(path, change(read_rows(path)))
    rewrite_record(paths, "shard", 0)


def rewrite_shard(paths, change, name="val-000000.tar"):
    """Change the members of a shard; index and manifest follow as far as they can, so that only the deeper check can find it."""
    path = paths.stage("shard") / name
    members = change([(m.name, m.data) for m in read_tar(path)])
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for member, data in members:
            info = tarfile.TarInfo(member)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    found = {m.name: m for m in read_tar(path)}

    def follow(rows):
        for row in rows:
            image, meta = (found.get(f"{row['key']}.{ext}") for ext in ("jpg", "json"))
            if row["shard"] == name and image and meta:
                row |= {
                    "image_offset": image.offset,
                    "image_bytes": len(image.data),
                    "meta_offset": meta.offset,
                    "meta_bytes": len(meta.data),
                }
                row["sha256"] = hashlib.sha256(image.data + meta.data).hexdigest()
        return rows

    manifest = paths.stage("shard") / "manifest.json"
    said = json.loads(manifest.read_text())
    said["shards"][name] |= {"sha256": sha256_file(path), "bytes": path.stat().st_size}
    manifest.write_text(json.dumps(said))
    rewrite_index(paths, follow)
