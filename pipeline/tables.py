"""Rows in Parquet. The only importer of pyarrow, which it loads when it is first needed.

A row is a flat dict of JSON-like values. Text, whole numbers, numbers and truth values get columns of their own type; a column with
anything nested or mixed is stored as JSON text and decoded when it is read. Equal rows give equal bytes.
"""

import json
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, overload

from pipeline.contracts.errors import ContractError, first_line
from pipeline.contracts.stage import Row
from pipeline.fileio import atomic_open, write_bytes

_ENCODING = {b"passerby": b"json"}  # field metadata of a column that holds JSON text
_EXACT_FLOAT = 2**53  # whole numbers up to here survive a column of floats


def write_rows(path: Path, rows: Sequence[Row]) -> None:
    """Write rows to a Parquet file, whole or not at all. Columns stand in order of first appearance; an absent value becomes None.

    Raises StageError when the disk is full, TypeError on a value that JSON does not know.
    """
    _write_table(path, _to_table(rows))


def replace_columns(path: Path, columns: Mapping[str, Sequence[Any]]) -> None:
    """Other values in some columns of a file of write_rows: the bytes that it would write, without decoding the other columns.

    Raises as read_rows and write_rows do.
    """
    with _told(path):
        table = _table(path, None)
    if table is None:
        return
    new = _to_table([dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)])
    for place, field in enumerate(table.schema):
        if field.name in columns:
            table = table.set_column(place, new.schema.field(field.name), new.column(field.name))
        else:  # reading has added the column's number in the file to its metadata
            kept = {name: value for name, value in (field.metadata or {}).items() if name in _ENCODING}
            table = table.set_column(place, field.with_metadata(kept or None), table.column(place))
    _write_table(path, table)


def _write_table(path: Path, table: Any) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    write_bytes(path, sink.getvalue())


def _to_table(rows: Sequence[Row]) -> Any:
    import pyarrow as pa

    names = list(dict.fromkeys(name for row in rows for name in row))
    fields, arrays = [], []
    for name in names:
        values = [row.get(name) for row in rows]
        kind = _kind(values)
        if kind == "json":
            values = [None if v is None else json.dumps(v, ensure_ascii=False, separators=(",", ":")) for v in values]
        arrow_type = {"bool": pa.bool_(), "int": pa.int64(), "float": pa.float64()}.get(kind, pa.string())
        fields.append(pa.field(name, arrow_type, metadata=_ENCODING if kind == "json" else None))
        arrays.append(pa.array(values, arrow_type))
    return pa.table(arrays, schema=pa.schema(fields))


@contextmanager
def row_writer(path: Path, batch_size: int = 50_000) -> Iterator[Callable[[Row], None]]:
    """Rows one after the other into a Parquet file, whole or not at all, without holding them all: `with row_writer(p) as add: add(row)`.

    All rows have the columns of the first, whose kinds the first batch decides.
    """
    import pyarrow.parquet as pq

    waiting: list[Row] = []
    writer: pq.ParquetWriter | None = None
    with atomic_open(path) as file:

        def flush() -> None:
            nonlocal writer
            table = _to_table(waiting)
            writer = writer or pq.ParquetWriter(file, table.schema, compression="zstd")
            writer.write_table(table.cast(writer.schema))
            waiting.clear()

        def add(row: Row) -> None:
            waiting.append(row)
            if len(waiting) == batch_size:
                flush()

        try:
            yield add
            if waiting or writer is None:
                flush()
        finally:
            if writer is not None:
                writer.close()


def read_rows(path: Path, columns: Sequence[str] | None = None) -> list[Row]:
    """Inverse of write_rows; `columns` limits what is read. Raises ContractError on a missing or corrupt file or an unknown column."""
    with _told(path):
        table = _table(path, columns)
        return [] if table is None else _rows(table)


class StoredRows(Sequence[Row]):
    """read_rows(path), each row made when it is asked for: of a million, a task wants a few thousand. Raises as read_rows does."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with _told(path):
            self._table = _table(path, None)

    def __len__(self) -> int:
        return 0 if self._table is None else int(self._table.num_rows)

    @overload
    def __getitem__(self, place: int) -> Row: ...
    @overload
    def __getitem__(self, place: slice) -> list[Row]: ...
    def __getitem__(self, place: int | slice) -> Row | list[Row]:
        places = range(len(self))[place]
        if isinstance(places, range):
            return [self[i] for i in places]
        with _told(self._path):
            return _rows(self._table.slice(places, 1))[0]


def as_read(rows: Sequence[Row]) -> list[Row]:
    """The rows that read_rows gives after write_rows has stored these: every row has all columns, tuples are lists, and so on."""
    return _rows(_to_table(rows)) if rows else []


def _rows(table: Any) -> list[Row]:
    decoded = {f.name: _decode(table.column(f.name).to_pylist(), f.metadata == _ENCODING) for f in table.schema}
    names = list(decoded)
    return [dict(zip(names, values, strict=True)) for values in zip(*decoded.values(), strict=True)]


def _table(path: Path, columns: Sequence[str] | None, optional: bool = False) -> Any:
    """The pyarrow table, or None for an empty one, which has no columns that could be asked for."""
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        if file.metadata.num_rows == 0:
            return None
        names = file.schema_arrow.names
        if columns and not optional and (absent := sorted(set(columns) - set(names))):
            raise ContractError(f"{path}: no column {', '.join(absent)}; it holds {', '.join(names)}")
        wanted = [name for name in columns if name in names] if columns else None
        return file.read(columns=wanted, use_threads=False)


@contextmanager
def _told(path: Path | str) -> Iterator[None]:
    """What pyarrow and the decoding of values say of a damaged file, as ContractError."""
    import pyarrow as pa

    try:
        yield
    except FileNotFoundError as err:
        raise ContractError(f"{path} does not exist; if a done record names it, delete that record and run again") from err
    except (pa.ArrowException, OSError, ValueError) as err:  # ValueError: text that is no UTF-8, or no JSON where it should be
        reason = first_line(err)
        raise ContractError(f"{path} is not a readable Parquet file ({reason}); delete it and its done record, then run again") from err


def read_columns(path: Path, columns: Sequence[str], *, optional: bool = False) -> dict[str, list[Any]]:
    """Columns as lists, decoded: a third of the memory of rows; empty lists for an empty table.

    optional: a column that the table lacks is a list of None. Otherwise ContractError is raised, as read_rows does.
    """
    with _told(path):
        table = _table(path, columns, optional)
        if table is None:
            return {name: [] for name in columns}
        found = {f.name: _decode(table.column(f.name).to_pylist(), f.metadata == _ENCODING) for f in table.schema}
    return {name: found.get(name, [None] * table.num_rows) for name in columns}


def iter_rows(path: Path, columns: Sequence[str], batch_size: int = 8192) -> Iterator[Row]:
    """Rows of plain columns one after the other, for tables that do not fit in memory as rows. Raises ContractError as read_rows does."""
    for batch in _batches(path, columns, batch_size):
        with _told(path):
            rows = batch.to_pylist()
        yield from rows


def rows_at(path: Path, columns: Sequence[str], places: Iterable[int]) -> list[Row]:
    """The rows at these places, in the order of the file; as iter_rows otherwise."""
    wanted, found, first = sorted(places), list[Row](), 0
    for batch in _batches(path, columns, 1 << 16):
        inside = wanted[bisect_left(wanted, first) : bisect_left(wanted, first + batch.num_rows)]
        with _told(path):
            found += batch.take([place - first for place in inside]).to_pylist() if inside else []
        first += batch.num_rows
    return found


def rows_with(path: Path, column: str, value: str | int, columns: Sequence[str]) -> list[Row]:
    """The rows whose `column` is `value`, without making those of others; as iter_rows otherwise."""
    import pyarrow.compute as pc

    found: list[Row] = []
    for batch in _batches(path, columns, 1 << 16):
        with _told(path):
            found += batch.filter(pc.equal(batch.column(column), value)).to_pylist()
    return found


def iter_columns(content: IO[bytes], columns: Sequence[str], where: str, batch_size: int = 1 << 14) -> Iterator[dict[str, list[Any]]]:
    """As iter_rows, but columns as lists, of a part of the rows at a time, and of the content of a file named `where`."""
    for batch in _batches(content, columns, batch_size, where):
        with _told(where):
            found = batch.to_pydict()
        yield found


def _batches(source: Path | IO[bytes], columns: Sequence[str], batch_size: int, where: str = "") -> Iterator[Any]:
    import pyarrow.parquet as pq

    where = where or str(source)
    with _told(where), pq.ParquetFile(source) as file:
        names = file.schema_arrow.names
        if absent := sorted(set(columns) - set(names)):
            raise ContractError(f"{where}: no column {', '.join(absent)}; it holds {', '.join(names)}")
        yield from file.iter_batches(batch_size, columns=list(columns), use_threads=False)


def num_rows(path: Path) -> int:
    """Raises ContractError on a missing or corrupt file."""
    return int(_metadata(path).num_rows)


def column_names(path: Path) -> list[str]:
    """Names of the columns. Raises ContractError on a missing or corrupt file."""
    return list(_metadata(path).schema.to_arrow_schema().names)


def _metadata(path: Path) -> Any:
    import pyarrow.parquet as pq

    with _told(path):
        return pq.read_metadata(path)


def _kind(values: Iterable[Any]) -> str:
    """The column type that gives these values back unchanged."""
    present = [v for v in values if v is not None]
    types = {type(v) for v in present}
    if types <= {str}:
        return "str"  # a column without any value too: most columns that can be empty hold text
    if types == {bool}:
        return "bool"
    if types == {int}:
        return "int" if all(-(2**63) <= v < 2**63 for v in present) else "json"
    if types <= {int, float}:
        return "float" if all(type(v) is float or abs(v) <= _EXACT_FLOAT for v in present) else "json"
    return "json"


def _decode(values: list[Any], is_json: bool) -> list[Any]:
    """All JSON texts of a column at once: half the time of one after the other."""
    if not is_json:
        return values
    found = json.loads("[" + ",".join([v for v in values if v is not None]) + "]")
    if len(found) == len(values):
        return found
    present = iter(found)
    return [None if v is None else next(present) for v in values]
