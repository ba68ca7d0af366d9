"""Captions to 27 labels: the guideline's rules one by one, and its gold captions."""

import io
import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from generation.annotate import AnnotateStage, annotate, labels_of
from generation.annotate_text import annotate_lines
from generation.annotation.lexicon import RULES_FILE, lexicon
from generation.annotation.merge import merge
from generation.annotation.tokens import tokens_of
from generation.cli import main
from generation.config import AnnotateConfig
from pipeline.contracts.attributes import LOWER_COLOURS, PERSON_27, UPPER_COLOURS
from pipeline.contracts.errors import ContractError
from pipeline.contracts.stage import Item, Keep

SPACES = {"upper": UPPER_COLOURS, "lower": LOWER_COLOURS}


def short(caption: str) -> str:
    """Labels in short: names with value, and "upper=red+gray" for a stated group, "upper=-" for one without a colour of the space."""
    labels = annotate(caption)
    colour_names = {f"{part}_{colour}" for part, colours in SPACES.items() for colour in colours}
    said = [f"{name}={value}" for name, value in labels.items() if value != -1 and name not in colour_names]
    for part, colours in SPACES.items():
        values = {colour: labels[f"{part}_{colour}"] for colour in colours}
        assert set(values.values()) in ({-1}, {1}, {0}, {0, 1}), f"a group is labelled as a whole: {values}"
        if -1 not in values.values():
            said.append(f"{part}={'+'.join(c for c, v in values.items() if v == 0) or '-'}")
    return " ".join(said)


def cases(name: str) -> list[str]:
    lines = Path(__file__).with_name(name).read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


HARD_CASES = cases("annotation_hard_cases.txt")


@pytest.mark.parametrize("line", [*cases("annotation_cases.txt"), *HARD_CASES, *cases("annotation_described_cases.txt")])
def test_caption_is_read_as_the_guideline_says(line: str) -> None:
    caption, _, expected = line.partition("|")
    assert sorted(short(caption.strip()).split()) == sorted(expected.split())


def gold(shared: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (shared / "reference" / "attributes_gold_dev.jsonl").read_text(encoding="utf-8").splitlines()]


def test_what_gold_captions_do_not_state_stays_unstated(shared: Path) -> None:
    found = [(annotate(record["caption"])[name], record["labels"].get(name)) for record in gold(shared) for name in PERSON_27.names]
    left_alone = [value == -1 for value, wanted in found if wanted is None]
    assert len(left_alone) > 1000
    assert sum(left_alone) / len(left_alone) >= 0.98


def test_gold_captions_reach_macro_f1_of_097(shared: Path) -> None:
    hits: Counter[tuple[str, int]] = Counter()
    misses: Counter[tuple[str, int]] = Counter()
    for record in gold(shared):
        found = {name: value for name, value in annotate(record["caption"]).items() if value != -1}
        for name in found.keys() | record["labels"].keys():
            wanted, got = record["labels"].get(name), found.get(name)
            hits.update([(name, got)] if got is not None and got == wanted else [])
            misses.update([(name, v) for v in (wanted, got) if v is not None and wanted != got])
    classes = hits.keys() | misses.keys()
    assert len(classes) == 2 * len(PERSON_27)
    assert sum(2 * hits[c] / (2 * hits[c] + misses[c]) for c in classes) / len(classes) >= 0.97


@pytest.mark.parametrize("text", ["", "...", "no", "the", "and and and", "red", "without", "'s", "ümläut 男", "a " * 2000])
def test_any_text_is_accepted(text: str) -> None:
    assert list(annotate(text)) == list(PERSON_27.names)


def word_lists(node: Any, name: str = "rules") -> Iterator[tuple[str, list[Any]]]:
    if isinstance(node, list) and not any(isinstance(item, dict) for item in node):
        yield name, node
    for key, value in node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ():
        yield from word_lists(value, f"{name}.{key}")


def test_no_list_of_the_rules_holds_a_word_twice_or_one_that_yaml_reads_as_something_else() -> None:
    found = dict(word_lists(yaml.safe_load(RULES_FILE.read_text(encoding="utf-8"))))
    assert {"rules.surfaces", "rules.persons.0.words", "rules.spelt.carried"} <= found.keys()
    assert not {
        name: [word for word, times in Counter(words).items() if times > 1] for name, words in found.items() if len({*words}) < len(words)
    }
    assert not {name: words for name, words in found.items() if not all(isinstance(word, str) for word in words)}


def test_the_first_caption_of_a_process_is_read_like_any_other() -> None:
    """Tables are made when they are first asked for; none may be asked too early."""
    caption = "a woman in a red coat"
    code = f"from generation.annotate import labels_of; print(labels_of([{caption!r}]))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(labels_of([caption]))


def test_all_symbols_are_made_before_the_first_caption() -> None:
    """Expressions are made of them, which would miss later ones."""
    code = (
        "import sys; from generation.annotate import annotate_all; from generation.annotation.symbols import symbols; "
        "before = len(symbols().meaning); annotate_all(sys.stdin.read().splitlines()); print(before, len(symbols().meaning))"
    )
    captions = "\n".join(line.partition("|")[0] for line in [*HARD_CASES, "a man in teens jackets hanging and leaning, covering 12 xyzing"])
    done = subprocess.run([sys.executable, "-c", code], input=captions, capture_output=True, text=True, check=True)
    before, after = done.stdout.split()
    assert before == after


def test_stage_writes_names_and_ordered_labels() -> None:
    stage = AnnotateStage(AnnotateConfig())
    stage.setup()
    (outcome,) = stage.process([Item("000000000_00", {"caption": "a man in a red shirt", "prompt": "a woman"})])
    assert isinstance(outcome, Keep)
    assert outcome.row["attributes"]["upper_red"] == 0
    assert outcome.row["labels"] == PERSON_27.to_labels(outcome.row["attributes"])


def test_labels_can_be_read_from_the_prompt() -> None:
    (outcome,) = AnnotateStage(AnnotateConfig(text="prompt")).process([Item("000000000_00", {"caption": "a man", "prompt": "a woman"})])
    assert isinstance(outcome, Keep)
    assert outcome.row["attributes"]["gender"] == 0


def answers(lines: Iterable[bytes], num_jobs: int = 1) -> list[dict[str, Any]]:
    return [json.loads(line) for chunk in annotate_lines(lines, "f", num_jobs) for line in chunk.text.splitlines()]


@pytest.mark.parametrize(
    "place", ["on the street", "on a sidewalk", "on a bench", "at a table", "in a chair", "across the street", "next to her"]
)
@pytest.mark.parametrize("clothes", ["in a black dress", "wearing a red shirt and blue jeans", "in a coat and a white hat"])
def test_where_somebody_is_does_not_undress(clothes: str, place: str) -> None:
    assert annotate(f"a woman {clothes} {place}") == annotate(f"a woman {clothes}")


@pytest.mark.parametrize("what", ["with a backpack", "carrying a handbag", "holding a white bag", "in a long coat with a purse"])
def test_who_has_a_bag_stands_and_sits_not_the_bag(what: str) -> None:
    for place in ("standing on a sidewalk", "sitting on a bench", "on the street"):
        assert annotate(f"a woman {what} {place}") == annotate(f"a woman {what}")


@pytest.mark.parametrize("word", ["window", "shops", "layer", "halls", "cheap", "village"])
def test_a_word_that_exists_is_not_read_as_a_listed_one(word: str) -> None:
    """They lie one letter from widow, shows, lawyer, hauls, chap and villager."""
    assert [entry.text for entry in tokens_of(word)] == [word]


def test_words_that_exist_are_on_no_other_list() -> None:
    assert not lexicon().real_words & lexicon().words


def test_several_processes_answer_in_the_order_of_the_captions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("generation.annotate_text.CHUNK_LINES", 3)
    lines = [line.partition("|")[0].encode() for line in HARD_CASES[:20]]
    one = answers(lines)
    assert [record["labels"] for record in one] == [annotate(line.decode()) for line in lines]
    assert answers(lines, num_jobs=2) == one


@pytest.mark.parametrize("identity", ['"quoted" \u00fc \n', 7, None, ["a"]])
def test_ids_come_back_as_they_were(identity: object) -> None:
    (record,) = answers([json.dumps({"id": identity, "caption": "a man"}).encode()])
    assert record["id"] == identity


def test_text_file_may_mix_plain_lines_and_json() -> None:
    lines = io.BytesIO(b'a man\n\n{"id": "x", "caption": "a woman"}\n')
    records = answers(lines)
    assert [(r["id"], r["labels"]["gender"]) for r in records] == [("1", 1), ("x", 0)]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"a man\n\xff\n", r"f, line 2, byte 1: not UTF-8"),
        (b"{oops\n", "f, line 1: not JSON"),
        (b'{"id": 1}\n', "`id` or `caption` is missing"),
        (b'[{"split": "train", "captions": ["a man"]}]', r"f, line 1: .* is of a JSON list, not a caption; accepted: one caption a line"),
        (b'\n[\n  "a man",\n', "f, line 2: '\\[' is of a JSON list"),
        (b'["a man",\n"a woman"]', "f, line 1: .* is of a JSON list"),
        (b'[{"captions": ["a m', "f, line 1: .* is of a JSON list"),
        (b"[]", "f, line 1: .* is of a JSON list"),
        (b"[null]", "f, line 1: .* is of a JSON list"),
        (b'{"id": 1, "caption": "a man"}\n["a man"]', "f, line 2: .* is of a JSON list"),
        (b'a man\n\n["a man", "a woman"]', "f, line 3: .* is of a JSON list"),
        (b'["a man in red"],\n["a woman in blue"]', "f, line 1: .* is of a JSON list"),
        (b"[" * 5000, "f, line 1: .* is of a JSON list"),
        (b"[" + b"1" * 5000 + b"]", "f, line 1: .* is of a JSON list"),
        (b'{"a":' * 5000, "f, line 1: not JSON"),
    ],
)
def test_bad_text_is_refused_naming_the_line(data: bytes, message: str) -> None:
    with pytest.raises(ContractError, match=message):
        list(annotate_lines(io.BytesIO(data), "f"))


@pytest.mark.parametrize(
    "line", [b"[a red coat], a woman", b'["LOVE"] is what a woman in a red coat reads', b'["LOVE" in white] a woman in a red coat']
)
def test_brackets_of_a_caption_are_no_list(line: bytes) -> None:
    (record,) = answers([line])
    assert (record["labels"]["gender"], record["labels"]["upper_red"]) == (0, 0)


def labels(**stated: int) -> dict[str, int]:
    return dict.fromkeys(PERSON_27.names, -1) | stated


RED = {f"upper_{c}": int(c != "red") for c in UPPER_COLOURS}
BLUE = {f"upper_{c}": int(c != "blue") for c in UPPER_COLOURS}
TEXT = labels(gender=1, hat=0, **RED)
ANSWERS = labels(gender=0, age=1, **BLUE)


@pytest.mark.parametrize(
    ("precedence", "expected"),
    [
        ("text", TEXT),
        ("answers", ANSWERS),
        ("text_first", labels(gender=1, hat=0, age=1, **RED)),
        ("answers_first", labels(gender=0, hat=0, age=1, **BLUE)),
        ("agree", labels(hat=0, age=1)),
    ],
)
def test_answers_of_a_model_are_merged_by_a_stated_precedence(precedence: str, expected: dict[str, int]) -> None:
    merged, conflicts = merge(TEXT, ANSWERS, precedence)
    assert merged == expected
    assert conflicts == ["gender", "upper_red", "upper_blue"]
    assert merge(TEXT, None, precedence) == (TEXT, [])


def test_the_stage_merges_answers_and_says_where_they_differ() -> None:
    items = [Item("a", {"caption": "a man", "answers": ANSWERS}), Item("b", {"caption": "a man"})]
    with_answers, without = AnnotateStage(AnnotateConfig(precedence="answers_first")).process(items)
    assert isinstance(with_answers, Keep)
    assert isinstance(without, Keep)
    assert with_answers.row["attributes"]["gender"] == 0
    assert with_answers.row["label_conflicts"] == ["gender"]
    assert without.row["attributes"]["gender"] == 1
    assert "label_conflicts" not in without.row


def test_coverage_counts_what_is_stated(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "c.txt").write_text("a man in a red shirt\na woman with a hat\n")
    assert main(["annotate-text", str(tmp_path / "c.txt"), "--coverage", "--coverage-json", str(tmp_path / "c.json")]) == 0
    counted = json.loads((tmp_path / "c.json").read_text())
    assert counted["captions"] == 2
    assert counted["attributes"]["gender"] == {"0": 1, "1": 1, "not_stated": 0}
    assert counted["attributes"]["upper_red"] == {"0": 1, "1": 0, "not_stated": 1}
    printed = capsys.readouterr()
    assert len(printed.out.splitlines()) == 2
    assert re.search(r"hat +1 +0 +50.0% +with a hat +without a hat", printed.err)


def test_captions_are_read_alike_when_memory_is_full_and_when_they_repeat(monkeypatch: pytest.MonkeyPatch) -> None:
    captions = [line.partition("|")[0] for line in HARD_CASES[:40]]
    wanted = labels_of(captions)
    monkeypatch.setattr("generation.annotate.MAX_REMEMBERED", 7)
    for size in (1, 5, 40):
        found = [labels for first in range(0, 40, size) for labels in labels_of(captions[first : first + size])]
        assert found == wanted
    assert labels_of([captions[0], captions[1], captions[0]]) == [wanted[0], wanted[1], wanted[0]]


def test_what_is_returned_may_be_changed_by_the_caller() -> None:
    annotate("a man in a blue coat")["gender"] = 7
    assert annotate("a man in a blue coat")["gender"] == 1
