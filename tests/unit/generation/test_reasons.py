"""The table of docs/generation.md in which a user looks up why a picture was left out."""

import ast
import re
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

from generation import caption_gate, filter_decision
from generation.config import GenerationConfig
from generation.filter_decision import Thresholds, plugin_finding
from pipeline.config import apply_overrides, build
from pipeline.demo.measures import split_measures

ROOT = Path(__file__).parents[3]
_ROW = re.compile(r"^\| [\w, ]+ \| `(\w+)` \| [^|]+ \|([^|]*)\|$", re.MULTILINE)


def table() -> dict[str, list[str]]:
    """Reason -> settings with their defaults, as for --set."""
    section = (ROOT / "docs" / "generation.md").read_text(encoding="utf-8").split("## Why a picture was left out")[1].split("\n## ")[0]
    rows = _ROW.findall(section)
    assert len(rows) == len(dict(rows)) == section.count("\n|") - 2
    return {reason: re.findall(r"`(.+?)`", settings) for reason, settings in rows}


def written_reasons() -> Iterator[str]:
    """Reasons that stages write where they drop or fail: Drop("..."), Fail("..."), {"reason": "..."}."""
    for file in (ROOT / "generation").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            values: list[ast.expr] = []
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("Drop", "Fail"):
                values = node.args[:1]
            elif isinstance(node, ast.Dict):
                named = zip(node.keys, node.values, strict=True)
                values = [value for key, value in named if isinstance(key, ast.Constant) and key.value == "reason"]
            yield from (value.value for value in values if isinstance(value, ast.Constant) and isinstance(value.value, str))


def test_the_table_lists_the_reasons_that_the_code_gives() -> None:
    of_plugin = plugin_finding({"NAME": 0.0}, Thresholds(min_measures={"NAME": 1.0}))
    assert of_plugin is not None
    assert set(table()) == {*written_reasons(), *filter_decision.REASONS, *caption_gate.REASONS, of_plugin.reason}


def test_the_settings_of_the_table_exist_and_show_their_defaults() -> None:
    settings = [setting for named in table().values() for setting in named]
    assert build(GenerationConfig, apply_overrides({}, settings), "--set") == GenerationConfig()
    thresholds = {setting.split("=")[0].rpartition(".")[2] for setting in settings if setting.startswith("filter.thresholds.")}
    assert thresholds == {field.name for field in fields(Thresholds)}


def test_the_demo_shows_first_what_a_rule_looks_at() -> None:
    for reason, _, names in (*filter_decision._IMAGE_RULES, *filter_decision._BODY_RULES, *filter_decision._STANCE_RULES):
        deciding, others = split_measures(reason, {**dict.fromkeys(names, 0.5), "another": 1.0})
        assert {name: value for name, value in deciding if value != "not measurable"} == dict.fromkeys(names, "0.5"), reason
        assert others == (("another", "1"),)
    assert ("leg_ratio", "not measurable") in split_measures("not_standing", {"head_ratio": 0.5})[0]
