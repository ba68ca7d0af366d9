import pytest

from pipeline.contracts.errors import ContractError
from pipeline.tables import StoredRows, column_names, iter_rows, read_columns, read_rows, replace_columns, row_writer, rows_at, write_rows


def test_rows_come_back_with_nested_values_and_none_for_what_was_absent(tmp_path):
    rows = [{"key": "a", "measures": {"blur": 1.5, "n": [1, None]}, "ok": True, "n": 3}, {"key": "b", "x": 0.5, "mixed": 1}, {"mixed": "t"}]
    write_rows(tmp_path / "t.parquet", rows)
    names = ("key", "measures", "ok", "n", "x", "mixed")
    assert read_rows(tmp_path / "t.parquet") == [{n: row.get(n) for n in names} for row in rows]


def test_text_that_looks_like_json_stays_text(tmp_path):
    write_rows(tmp_path / "t.parquet", [{"caption": '{"a": 1}'}])
    assert read_rows(tmp_path / "t.parquet") == [{"caption": '{"a": 1}'}]


def test_whole_numbers_beyond_64_bits_and_beyond_floats_stay_exact(tmp_path):
    rows = [{"a": 2**70, "b": 2**60 + 1}, {"a": 1, "b": 0.5}]
    write_rows(tmp_path / "t.parquet", rows)
    assert read_rows(tmp_path / "t.parquet") == rows


def test_equal_rows_give_equal_bytes(tmp_path):
    for name in ("a", "b"):
        write_rows(tmp_path / name, [{"key": "k", "m": {"x": 1}}] * 3)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_replaced_columns_give_the_bytes_of_rows_with_these_values(tmp_path):
    rows = [{"key": f"{i}", "reason": None, "n": i, "x": 0.5, "m": {"x": [i]}} for i in range(9)]
    new = [None if i % 2 else "blur" for i in range(9)]
    write_rows(tmp_path / "a", rows)
    write_rows(tmp_path / "b", [row | {"reason": reason} for row, reason in zip(rows, new, strict=True)])
    replace_columns(tmp_path / "a", {"key": [f"{i}" for i in range(9)], "reason": new})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    write_rows(tmp_path / "a", [])
    replace_columns(tmp_path / "a", {"reason": []})
    assert read_rows(tmp_path / "a") == []


def test_no_rows_are_read_as_no_rows_whatever_columns_are_asked_for(tmp_path):
    write_rows(tmp_path / "t.parquet", [])
    assert read_rows(tmp_path / "t.parquet", ["key"]) == []


def test_only_the_asked_columns_are_read(tmp_path):
    write_rows(tmp_path / "t.parquet", [{"a": 1, "b": 2}])
    assert read_rows(tmp_path / "t.parquet", ["b"]) == [{"b": 2}]
    with pytest.raises(ContractError, match="no column c; it holds a, b"):
        read_rows(tmp_path / "t.parquet", ["c"])


@pytest.mark.parametrize("damage", ["cut", "garbage", "empty", "flipped"])
def test_a_corrupt_file_is_a_contract_error_that_names_it(tmp_path, damage):
    path = tmp_path / "t.parquet"
    write_rows(path, [{"a": i} for i in range(100)])
    data = path.read_bytes()
    flipped = bytes([*data[:-40], *(b ^ 0xFF for b in data[-40:-8]), *data[-8:]])
    path.write_bytes({"cut": data[:-20], "garbage": b"hello", "empty": b"", "flipped": flipped}[damage])
    for read in (read_rows, StoredRows):
        with pytest.raises(ContractError, match=r"t\.parquet is not a readable Parquet file .* delete it"):
            read(path)


@pytest.mark.parametrize(
    "read",
    [
        read_rows,
        lambda path: read_columns(path, ["key"]),
        lambda path: list(iter_rows(path, ["key"])),
        lambda path: rows_at(path, ["key"], [1]),
        lambda path: list(StoredRows(path)),
    ],
)
def test_text_that_is_no_utf8_is_a_contract_error(tmp_path, read):
    """As one changed byte makes it: the file is whole as far as Parquet can tell."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    keys = pa.array([b"000000000_00", b"00000000\xf9_00"]).view(pa.string())
    pq.write_table(pa.table({"key": keys}), tmp_path / "t.parquet")
    with pytest.raises(ContractError, match=r"t\.parquet is not a readable Parquet file \('utf-8' codec"):
        read(tmp_path / "t.parquet")


def test_a_missing_file_is_a_contract_error(tmp_path):
    for read in (read_rows, StoredRows):
        with pytest.raises(ContractError, match="does not exist"):
            read(tmp_path / "absent")


def test_a_value_that_json_does_not_know_is_refused(tmp_path):
    with pytest.raises(TypeError):
        write_rows(tmp_path / "t.parquet", [{"a": {1, 2}}])
    assert list(tmp_path.iterdir()) == []


def test_a_writer_takes_rows_one_by_one_and_gives_the_same_table(tmp_path):
    rows = [{"key": f"{i:03d}", "n": i, "measures": {"a": i / 3}, "note": None if i % 2 else "x"} for i in range(25)]
    with row_writer(tmp_path / "streamed.parquet", batch_size=10) as add:
        for row in rows:
            add(row)
    assert read_rows(tmp_path / "streamed.parquet") == rows
    assert list(iter_rows(tmp_path / "streamed.parquet", ("key", "n"), batch_size=4)) == [{"key": r["key"], "n": r["n"]} for r in rows]
    assert column_names(tmp_path / "streamed.parquet") == ["key", "n", "measures", "note"]


def test_a_writer_that_fails_leaves_nothing(tmp_path):
    def rows():
        yield {"key": "a"}
        raise ValueError("stop")

    def write():
        with row_writer(tmp_path / "t.parquet", batch_size=1) as add:
            for row in rows():
                add(row)

    with pytest.raises(ValueError, match="stop"):
        write()
    assert list(tmp_path.iterdir()) == []


def test_columns_that_a_table_lacks_are_none_where_that_is_allowed(tmp_path):
    write_rows(tmp_path / "t.parquet", [{"a": 1, "b": {"x": 2}}, {"a": 3, "b": None}])
    assert read_columns(tmp_path / "t.parquet", ("b", "a")) == {"b": [{"x": 2}, None], "a": [1, 3]}
    assert read_columns(tmp_path / "t.parquet", ("a", "c"), optional=True) == {"a": [1, 3], "c": [None, None]}
    with pytest.raises(ContractError, match="no column c"):
        read_columns(tmp_path / "t.parquet", ("a", "c"))


def test_stored_rows_are_those_that_are_read(tmp_path):
    with row_writer(tmp_path / "t.parquet", batch_size=2) as add:
        for i in range(5):
            add({"a": i, "b": {"c": [i]}, "d": None if i % 2 else "x"})
    stored, rows = StoredRows(tmp_path / "t.parquet"), read_rows(tmp_path / "t.parquet")
    assert len(stored) == 5
    assert (list(stored), stored[3], stored[-1], stored[1:4]) == (rows, rows[3], rows[-1], rows[1:4])
    with pytest.raises(IndexError):
        stored[5]
    write_rows(tmp_path / "empty.parquet", [])
    assert list(StoredRows(tmp_path / "empty.parquet")) == []
