"""Which attributes a training learns, and the labels of its samples: those of the shards, or of a space of the user's own.

A YAML file of one's own:

  name: rain
  attributes:
    - name: umbrella
      prompts: [the person without an umbrella, the person with an umbrella]     # true at label 0, at label 1
      keywords: [[no umbrella, without an umbrella], [umbrella, parasol]]        # words of a caption that say so; optional

A label is the one that the sample's own attributes give under that name, else the one whose keywords its caption holds (the longest keyword
that occurs counts, so "without an umbrella" is not "umbrella"), else -1, not stated.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.config import read_yaml
from pipeline.contracts.attributes import MISSING, Attribute, AttributeSpace
from pipeline.contracts.errors import ConfigError
from pipeline.contracts.sample import SampleMeta


@dataclass(frozen=True, slots=True)
class Keywords:
    """Of one attribute. labels: keyword, lower case -> label; pattern finds, wherever a keyword begins, the longest that does."""

    labels: dict[str, int]
    pattern: re.Pattern[str] | None  # None: no keywords

    @classmethod
    def of(cls, labels: dict[str, int]) -> "Keywords":
        longest_first = "|".join(re.escape(word) for word in sorted(labels, key=len, reverse=True))
        return cls(labels, re.compile(rf"\b(?=((?:{longest_first})\b))") if labels else None)  # ahead: keywords may overlap

    def label(self, caption: str) -> int:
        """Of the longest keyword that occurs as whole words, of equally long ones the one that is named first; -1 without one."""
        found = set(self.pattern.findall(caption.lower())) if self.pattern else set()
        return self.labels[max((word for word in self.labels if word in found), key=len)] if found else MISSING


@dataclass(frozen=True, slots=True)
class Labelling:
    """keywords: of each attribute of the space; None where the labels of the samples are taken as they are."""

    space: AttributeSpace
    keywords: tuple[Keywords, ...] | None = None

    def own_facts(self) -> list[Any]:
        """What tells a training with a space of one's own from others; nothing where the shards' index tells it."""
        return [] if self.keywords is None else [self.space.to_json(), [words.labels for words in self.keywords]]

    def of(self, meta: SampleMeta) -> list[int]:
        """A label for each attribute of the space."""
        if self.keywords is None:
            return meta.labels
        stated = [meta.attributes.get(name, MISSING) for name in self.space.names]
        return [label if label != MISSING else words.label(meta.caption) for label, words in zip(stated, self.keywords, strict=True)]


def labelling(file: str | None, of_shards: AttributeSpace) -> Labelling:
    """Of `data.attributes`: a YAML file, or None for the space of the shards. Raises ConfigError naming file and entry."""
    if file is None:
        return Labelling(of_shards)
    tree = read_yaml(Path(file))
    entries = tree.get("attributes")
    if not isinstance(entries, list) or not entries:
        raise ConfigError(f"{file}: attributes={entries!r}; accepted: a list of at least one attribute")
    found = [_entry(entry, f"{file}: attribute {number}") for number, entry in enumerate(entries, 1)]
    names = [attribute.name for attribute, _ in found]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ConfigError(f"{file}: {', '.join(twice)} stands there twice; every attribute needs a name of its own")
    return Labelling(AttributeSpace(str(tree.get("name", Path(file).stem)), tuple(a for a, _ in found)), tuple(k for _, k in found))


def _entry(entry: Any, where: str) -> tuple[Attribute, Keywords]:
    known = ("name", "prompts", "keywords")
    if not isinstance(entry, Mapping) or set(entry) - set(known) or not isinstance(entry.get("name"), str):
        raise ConfigError(f"{where} is {entry!r}; accepted: a mapping with name, prompts and, if wanted, keywords")
    prompts, keywords = entry.get("prompts"), entry.get("keywords", [[], []])
    given = [p.strip().lower() for p in prompts if isinstance(p, str)] if isinstance(prompts, list) else []
    if not isinstance(prompts, list) or len(prompts) != 2 or len({*given} - {""}) != 2:
        raise ConfigError(f"{where} ({entry['name']}): prompts={prompts!r}; accepted: two different sentences, for label 0 and 1")
    if not isinstance(keywords, list) or len(keywords) != 2 or not all(isinstance(side, list) for side in keywords):
        raise ConfigError(f"{where} ({entry['name']}): keywords={keywords!r}; accepted: two lists, for label 0 and label 1")
    for word in (word for side in keywords for word in side):
        if not isinstance(word, str) or not word.strip():
            raise ConfigError(
                f"{where} ({entry['name']}): keyword {word!r}; accepted: words; put quotes around those that YAML reads otherwise"
            )
    words = {word.lower(): label for label, side in enumerate(keywords) for word in side}
    if len(words) < sum(map(len, keywords)):
        raise ConfigError(f"{where} ({entry['name']}): keywords={keywords!r} name a word twice; a word says one label")
    return Attribute(entry["name"], (prompts[0], prompts[1])), Keywords.of(words)
