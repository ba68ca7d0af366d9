"""The data card (README.md) of an export, filled in from what was exported."""

import json
from collections import Counter
from typing import Any

from generation.config import EMBEDDED
from generation.exchange.origins import IMPORTED
from generation.exchange.published import RECIPE_FILE
from pipeline.contracts.attributes import MISSING, AttributeSpace
from pipeline.contracts.manifest import ShardManifest
from pipeline.contracts.sample import SampleMeta

_HUB_LICENCES = {"CC0-1.0": "cc0-1.0", "CC-BY-4.0": "cc-by-4.0", "CC-BY-SA-4.0": "cc-by-sa-4.0", "MIT": "mit", "Apache-2.0": "apache-2.0"}
_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"), (10_000_000, "1M<n<10M"))
UNKNOWN = "unknown"  # a model that a sample does not name, a licence that nobody has stated
_TEXTS = {"prefix": "before each prompt", "suffix": "after each prompt", "negative_prompt": "negative prompt"}
_RECIPE = (
    f"`{RECIPE_FILE}` holds every setting. With the same version, models and prompt files `passerby run {RECIPE_FILE}` makes the data "
    "again, `passerby regenerate RUN KEY` then any one picture by its key. Files and folders are named in it without their place."
)


class CardFacts:
    """What the card says, gathered sample by sample."""

    def __init__(self, name: str, manifest: ShardManifest, stages: dict[str, Any] | None, has_recipe: bool = False) -> None:
        self.name, self.manifest, self.stages, self.has_recipe = name, manifest, stages, has_recipe
        self.space = AttributeSpace.from_json(manifest.attribute_space)
        self.num_samples = self.num_words = self.num_imported = self.num_with_prompt = 0
        self.sources, self.licences, self.generators, self.captioners = (Counter[str]() for _ in range(4))
        self.foreign_models: set[str] = set()  # whose licences are not known here; MALS and UNKNOWN stand for themselves
        self.labels = [Counter[int]() for _ in self.space.names]
        self.pid_of_prompt: dict[int, int] = {}
        self.has_pid_per_prompt = True

    def add(self, meta: SampleMeta) -> None:
        self.num_samples += 1
        self.num_words += len(meta.caption.split())
        self.sources[meta.source] += 1
        self.licences[meta.licence] += 1
        self.generators[_model(meta.generator)] += 1
        self.captioners[_model(meta.captioner)] += 1
        self.foreign_models |= _foreign_models(meta.generator) | _foreign_models(meta.captioner)
        self.num_imported += meta.generator.get("model") == IMPORTED
        if meta.prompt:
            self.num_with_prompt += 1
            self.has_pid_per_prompt &= self.pid_of_prompt.setdefault(hash(meta.prompt), meta.pid) == meta.pid
        for counter, value in zip(self.labels, meta.labels, strict=True):
            counter[value] += 1


def write_card(facts: CardFacts) -> str:
    """Markdown with the front matter that the hub and `datasets` read."""
    splits = facts.manifest.split_counts
    parts = [
        _front_matter(facts, sorted(splits)),
        f"# {facts.name}",
        _made_by(facts),
        "## Size",
        _table(("split", "samples"), [(name, count) for name, count in splits.items()]),
        _texts(facts),
        "## How it was made",
        _counted("Prompts from", facts.sources),
        _counted("Pictures by", facts.generators),
        _counted("Captions by", facts.captioners),
        _RECIPE if facts.has_recipe else "",
        _dropped(facts.stages),
        "## Licences",
        _counted("Licence of the prompts", facts.licences),
        _model_licences(facts),
        "## Attributes",
        "0, 1, or -1 for not stated; for hats, bags and colours 0 means *has it*.",
        _table(("attribute", "label 0", "label 1", "0", "1", "not stated"), _attribute_rows(facts)),
        "## Known limits",
        "\n".join(f"- {limit}" for limit in _limits(facts)),
        "## Reading it",
        '```python\nfrom datasets import load_dataset\n\ndata = load_dataset("PATH")\nprint(data["train"][0]["json"]["caption"])\n```',
        "Each tar is a WebDataset shard of `KEY.jpg` and `KEY.json`; fields that end in `_json` are JSON as text.",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _made_by(facts: CardFacts) -> str:
    """Only of what it has made itself can passerby say where it comes from."""
    what = "pictures of pedestrians with captions and 27 attributes"
    version, made_from = facts.manifest.code_version, facts.manifest.config_digest
    if facts.num_imported == 0:
        return f"Synthetic {what}, made by passerby {version} (config digest `{made_from}`). No picture shows a real person."
    elsewhere = f"{facts.num_imported} of {facts.num_samples} were made elsewhere and imported in the layout of MALS"
    return f"Synthetic {what}, put together by passerby {version}; {elsewhere}."


def _texts(facts: CardFacts) -> str:
    prompts = f"{len(facts.pid_of_prompt)} different prompts"
    if unknown := facts.num_samples - facts.num_with_prompt:
        prompts = f"The prompts of {unknown} samples are not known, the others have {prompts}"
    return f"{prompts}; {facts.num_words / max(facts.num_samples, 1):.1f} words a caption on average."


def _model_licences(facts: CardFacts) -> str:
    if not facts.foreign_models:
        return "The models are those of passerby, Apache-2.0: pictures and captions are under the licence of the prompts."
    said = []
    if named := sorted(facts.foreign_models - {IMPORTED, UNKNOWN}):
        said.append(
            f"**The licences of the models bind what they made too**: {', '.join(named)}. They are stated where a model was published, for "
            "names like `org/name` at `https://huggingface.co/org/name`; terms of use and of passing on outputs stand there."
        )
    if any("sha256" in name for name in named):
        said.append("A local folder or file has the licence of the model whose weights have this sha256 (whole in each sample).")
    if IMPORTED in facts.foreign_models:
        said.append("**What was imported from MALS is under the terms of MALS**: research only; they stand where MALS was published.")
    if UNKNOWN in facts.foreign_models:
        said.append("**Which model made some of the data is unknown**, and so is its licence.")
    return " ".join(said)


def _front_matter(facts: CardFacts, splits: list[str]) -> str:
    """One licence only where it holds for all of the data: that of the prompts, if no model from elsewhere adds its own."""
    known = [_HUB_LICENCES.get(name) for name in facts.licences]
    licence = known[0] if len(known) == 1 and known[0] and not facts.foreign_models else "other"
    size = next((name for limit, name in _SIZES if facts.num_samples < limit), "n>10M")
    files = "".join(f'\n  - split: {"validation" if split == "val" else split}\n    path: "data/{split}-*.tar"' for split in splits)
    return (
        f"---\nlicense: {licence}\ntask_categories:\n- text-to-image\n- image-to-text\ntags:\n- synthetic\n- person-retrieval\n"
        f"size_categories:\n- {size}\nconfigs:\n- config_name: default\n  data_files:{files}\n---"
    )


def _attribute_rows(facts: CardFacts) -> list[tuple[Any, ...]]:
    rows = zip(facts.space.attributes, facts.labels, strict=True)
    return [(a.name, *a.prompts, counts[0], counts[1], counts[MISSING]) for a, counts in rows]


def _dropped(stages: dict[str, Any] | None) -> str:
    if not stages:
        return ""
    rows = [
        (name, s["seen"], s["kept"], s["dropped"], s["failed"], ", ".join(f"{r} {n}" for r, n in s["reasons"].items()))
        for name, s in stages.items()
    ]
    return _table(("stage", "seen", "kept", "dropped", "failed", "reasons"), rows)


def _limits(facts: CardFacts) -> list[str]:
    """Stated from the numbers where they say something, otherwise true of every such set."""
    limits = [
        "Captions and attributes are machine-made. Attributes are what a caption states: -1 says nothing about the picture.",
        "Pictures are synthetic; a model trained on them alone meets a domain gap on surveillance pictures.",
    ]
    rare = [
        f"{name} ({counts[0]} / {counts[1]})"
        for name, counts in zip(facts.space.names, facts.labels, strict=True)
        if min(counts[0], counts[1]) < 0.01 * facts.num_samples
    ]
    if rare:
        limits.append(f"Attributes with a value in less than 1 % of samples (0 / 1): {', '.join(rare)}.")
    if unknown := sum(n for name, n in facts.licences.items() if name == UNKNOWN):
        limits.append(f"The licence of the prompts of {unknown} samples is unknown.")
    if (num_prompts := len(facts.pid_of_prompt)) < facts.num_with_prompt:
        pids = "; samples of one prompt have one `pid`" if facts.has_pid_per_prompt else ""
        limits.append(f"{facts.num_with_prompt} samples share {num_prompts} prompts{pids}.")
    return limits


def _model(provenance: dict[str, Any]) -> str:
    settings = ", ".join(f"{name} {provenance[name]}" for name in ("scheduler", "steps", "guidance") if name in provenance)
    parts = [f"{_name(provenance)}{f' ({settings})' if settings else ''}"]
    if weights := provenance.get("weights_sha256"):
        parts.append(f"weights {_sha256(weights)}")
    if lora := provenance.get("lora"):
        parts += _lora(lora)
    parts += [f"{said} `{_quoted(text)}`" for name, said in _TEXTS.items() if (text := provenance.get(name))]
    return ", ".join(parts)


def _quoted(text: Any) -> str:
    """JSON that may stand between backticks."""
    return json.dumps(text, ensure_ascii=False).replace("`", r"\u0060")


def _foreign_models(provenance: dict[str, Any]) -> set[str]:
    """Models and LoRA files that did not come with passerby; with sha256 where the name does not say who published them."""
    model, lora = _name(provenance), provenance.get("lora")
    found = set()
    if model in (IMPORTED, UNKNOWN):
        found.add(model)
    elif model != EMBEDDED:
        is_published = model.count("/") == 1 and not model.startswith(".")
        found.add(_bound_by(model, None if is_published else provenance.get("weights_sha256")))
    if lora:
        file, sha256 = (lora.get("file", lora), lora.get("sha256")) if isinstance(lora, dict) else (lora, None)
        found.add(_bound_by(f"LoRA {file}", sha256))
    return found


def _bound_by(name: str, sha256: Any) -> str:
    return f"`{name}`" + (f" ({_sha256(sha256)})" if sha256 else "")


def _name(provenance: dict[str, Any]) -> str:
    return str(provenance.get("model") or "").strip() or UNKNOWN


def _lora(lora: Any) -> list[str]:
    """Of a sample that was imported it may be anything."""
    if not isinstance(lora, dict) or not {"file", "scale", "sha256"} <= lora.keys():
        return [f"LoRA {lora}"]
    return [f"LoRA {lora['file']} at scale {lora['scale']}", _sha256(lora["sha256"])]


def _sha256(value: Any) -> str:
    return f"sha256 {str(value)[:12]}…"


def _counted(title: str, counter: Counter[str]) -> str:
    return f"{title}: " + "; ".join(f"{name} ({count})" for name, count in counter.most_common()) + "."


def _table(columns: tuple[str, ...], rows: list[tuple[Any, ...]]) -> str:
    def line(cells: tuple[Any, ...]) -> str:
        return "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |"

    return "\n".join([line(columns), line(("---",) * len(columns)), *(line(row) for row in rows)])
