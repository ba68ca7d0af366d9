"""Counting prompts by blocks of a file gives what reading them line by line gives, for every file: the same number, or the same refusal."""

from collections.abc import Callable
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from generation import prompt_files
from generation.config import PromptsConfig
from generation.prompt_texts import count_prompts, make_prompts
from pipeline.contracts.errors import ContractError

plain = st.sampled_from(
    [
        b"A man.",
        b"a  man",
        b"  a man ",
        b"Am an",
        b"A woman, in red",
        b"a-b",
        b"ab",
        b"7 men",
        b"A\tman!",
        b"a man\x0b",
        b"\x1ca\x0cman\x1f",
    ]
)
odd = st.sampled_from(
    [b"", b" ", b"...", b"\t!\t", b"\x01", b"\xef\xbb\xbfa man", "“Ä mán”".encode(), "a\u2028man\u00a0".encode(), b"_a man_"]
)
bad = st.sampled_from([b"a \xf6", b"a\0man", b"[", b'{"prompt": 1}', b"\xef\xbb\xbf[{"])
line_ends = st.sampled_from([b"\n", b"\r\n", b"\n\n", b"\r", b" \n "])
pieces = st.one_of(plain, plain, plain, odd)
files = st.lists(st.tuples(st.one_of(pieces, pieces, pieces, bad), line_ends), max_size=12).map(
    lambda lines: b"".join(a + b for a, b in lines)
)


def outcome(count: Callable[[], int]) -> int | str:
    try:
        return count()
    except ContractError as err:
        return str(err)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("prompts")


@example([(b"a man\na man\n", b".")], 1)  # a last line without a word and without its end
@given(st.lists(st.tuples(files, st.sampled_from([b"", b"a boy", b"."])), min_size=1, max_size=2), st.integers(1, 60))
def test_counting_by_blocks_is_counting_by_lines(folder: Path, contents: list[tuple[bytes, bytes]], block_bytes: int) -> None:
    names = [str(folder / f"{i}.txt") for i in range(len(contents))]
    for name, (lines, last) in zip(names, contents, strict=True):
        Path(name).write_bytes(lines + last)
    config = PromptsConfig(kind="text", file=tuple(names))
    with mock.patch.object(prompt_files, "_BLOCK_BYTES", block_bytes):
        counted = outcome(lambda: count_prompts(config))
    assert counted == outcome(lambda: len(make_prompts(config, 0)))
