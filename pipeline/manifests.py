"""The manifest of a folder of shards, read from disk."""

from pathlib import Path

from pipeline.contracts.errors import ContractError
from pipeline.contracts.manifest import ShardManifest
from pipeline.paths import MANIFEST_FILE


def read_manifest(folder: Path) -> ShardManifest:
    """Raises ContractError if it is absent, cannot be read, or is no manifest."""
    file = folder / MANIFEST_FILE
    try:
        text = file.read_bytes()
    except OSError as err:
        raise ContractError(
            f"{file} cannot be read ({err.strerror}); copy it anew, or make the shards again: `passerby run RUN --redo shard`"
        ) from err
    return ShardManifest.parse(text, str(file))
