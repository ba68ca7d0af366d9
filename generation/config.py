"""Everything that changes the result of a generation run. One YAML file holds the sections that differ from these defaults.

What only says how fast (worker processes) may change at will: `digests` leaves it out, and a finished unit stays finished.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from generation.filter_decision import Thresholds
from generation.target import check_target
from pipeline.contracts.errors import ConfigError
from pipeline.ranges import BELOW_1, COUNT, NOT_NEGATIVE, POSITIVE, SHARE, Range, check_ranges

EMBEDDED = "embedded"
EMBEDDED_WEIGHTS = Path(__file__).parent / "embedded" / "weights"
DEVICES = ("auto", "cpu", "cuda", "mps")
MAX_SIDE_PX = 8192  # of a picture: more is a slip of the pen
BLIP_NEW_TOKENS, VLM_NEW_TOKENS = 48, 160  # caption.max_new_tokens where it is not set
Dtype = Literal["auto", "float32", "bfloat16", "float16"]
PromptKind = Literal["sampler", "text", "json", "table", "auto"]
KIND_OF_SUFFIX: dict[str, PromptKind] = {".json": "json", ".jsonl": "table", ".parquet": "table", ".txt": "text"}
PluginKind = Literal["image_text", "classifier"]
Precedence = Literal["text", "answers", "text_first", "answers_first", "agree"]


def _refuse(condition: bool, field_name: str, value: Any, accepted: str) -> None:
    if condition:
        raise ConfigError(f"{field_name}={value!r}; accepted: {accepted}")


def _check_device(section: str, device: str) -> None:
    name, _, index = device.partition(":")
    _refuse(
        name not in DEVICES or (":" in device and not (name == "cuda" and index.isdigit())),
        f"{section}.device",
        device,
        f"{', '.join(DEVICES)}, or cuda:N",
    )


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Identity and division of the run."""

    name: str = "run"  # names the folder
    folder: str | None = None  # None: runs/NAME below the working directory
    seed: int = 0  # every random choice of the run derives from it
    unit_size: int = 256  # images in a unit, the smallest piece of work that is done or not done
    execution: Literal["staged", "fused"] = "staged"  # fused: generate to annotate at once, in a process a GPU. Same files

    def __post_init__(self) -> None:
        _refuse(not self.name or "/" in self.name or self.name.startswith("."), "run.name", self.name, "a folder name")
        check_ranges("run", self, unit_size=COUNT)

    @property
    def path(self) -> Path:
        return Path(self.folder) if self.folder else Path("runs") / self.name


@dataclass(frozen=True, kw_only=True)
class PromptsConfig:
    """Where the sentences come from."""

    # sampler: balances the 27 attributes; text: one a line; json: caption lists; table: .jsonl, .parquet; auto: each file by its suffix
    kind: PromptKind = "sampler"
    file: str | tuple[str, ...] | None = None  # for all but the sampler; several are read one after the other
    splits: tuple[str, ...] = ("train",)  # caption lists: captions of other splits are left out or refused, so that no test caption is used
    num_prompts: int | None = None  # sampler: how many (default 1000); files: at most so many, in file order (default all)
    variants: int = 1  # images per prompt, each with its own seed
    licence: str | None = None  # of the prompts; None: what a table's row says, CC0-1.0 for the sampler, else "unknown"
    source: str | None = None  # where they come from; None: what a table's row says, else "sampler" or the file's name
    unrepeated: bool = True  # files: texts that differ in case, spacing or punctuation only are taken once
    target: dict[str, Any] | None = None  # sampler: shares of its values (generation/target.py), which fill the long tail where not given
    check_against: tuple[str, ...] = ()  # test caption files: refuse to start if a prompt stands in one
    max_similarity: float = 0.7  # of a prompt to a test caption: Jaccard index of their pairs of neighbouring words
    allow_leak: bool = False  # start all the same, with a warning in the log

    def __post_init__(self) -> None:
        _refuse(
            self.kind == "sampler" and self.file is not None,
            "prompts.file",
            self.file,
            "nothing, or another prompts.kind",
        )
        _refuse(self.kind != "sampler" and not self.file, "prompts.file", self.file, f"a file, because prompts.kind={self.kind!r}")
        for path in map(Path, self.files if self.kind == "auto" else ()):
            accepted = f"{', '.join(KIND_OF_SUFFIX)} where prompts.kind=auto"
            _refuse(path.suffix not in KIND_OF_SUFFIX, "prompts.file", str(path), accepted)
        check_ranges("prompts", self, num_prompts=Range(1, 10**9), variants=Range(1, 100), max_similarity=Range(0, 1, open_below=True))
        _refuse(self.target is not None and self.kind != "sampler", "prompts.target", self.target, "nothing, or prompts.kind sampler")
        if self.target is not None:
            check_target(self.target)

    @property
    def files(self) -> tuple[str, ...]:
        return (self.file,) if isinstance(self.file, str) else self.file or ()

    @property
    def kinds_of_files(self) -> list[tuple[Path, PromptKind]]:
        """Each file with the way it is read."""
        paths = map(Path, self.files)
        return [(path, KIND_OF_SUFFIX[path.suffix] if self.kind == "auto" else self.kind) for path in paths]


@dataclass(frozen=True, kw_only=True)
class GenerateConfig:
    """Any text-to-image pipeline of diffusers."""

    model: str = EMBEDDED  # embedded, a folder in diffusers layout, or a name on the model hub
    revision: str | None = None  # of a name on the hub: a commit, tag or branch; None: the newest
    variant: str | None = None  # of the weight files, e.g. fp16; None: the plain ones, or the only variant where there are none
    device: str = "auto"  # auto: cuda, else mps, else cpu
    dtype: Dtype = "auto"  # auto: float32 on the CPU; elsewhere bfloat16 for transformers (Flux, SANA ...) if the GPU has it, else float16
    batch_size: int = 16  # images at once, halved when memory runs out; 0: found by trying (rounding then depends on the machine's speed)
    steps: int = 20
    guidance: float = 4.0  # classifier-free, where the family knows it as true_cfg_scale too; 1 or less: none, half the cost
    scheduler: str | None = None  # class name in diffusers, e.g. DPMSolverMultistepScheduler; None: the checkpoint's own
    negative_prompt: str = ""  # needs guidance above 1; "": what the family takes for none
    height: int | None = None  # px; None: the model's own size
    width: int | None = None
    lora: str | None = None  # .safetensors file, fused into the weights
    lora_scale: float = 1.0
    channels_last: bool | None = None  # memory layout; None: where it is faster, on CPUs and for float16 and bfloat16 on NVIDIA GPUs
    compile: bool = False  # torch.compile of the denoiser: a minute at the start of each task, then faster
    attention: str = "auto"  # auto, sliced (less memory), or a backend of diffusers: native, flash, xformers, sage, ...
    safety_checker: bool = False  # load the checkpoint's checker; what it takes for unsafe is dropped
    prefix: str = ""  # put before every prompt, e.g. "a full body photo of "; not stored in the prompt
    suffix: str = ""

    def __post_init__(self) -> None:
        _check_device("generate", self.device)
        check_ranges("generate", self, batch_size=NOT_NEGATIVE, steps=COUNT, guidance=NOT_NEGATIVE)
        for name in ("height", "width"):
            value = getattr(self, name)
            _refuse(
                value is not None and (not 8 <= value <= MAX_SIDE_PX or value % 8 != 0),
                f"generate.{name}",
                value,
                f"a multiple of 8 up to {MAX_SIDE_PX}",
            )
        _refuse((self.height is None) != (self.width is None), "generate.height", self.height, "height and width together, or neither")


@dataclass(frozen=True, kw_only=True)
class PluginConfig:
    """One measure by a model of transformers, beside those that are built in. Stored like them; thresholds.min_measures may use it."""

    name: str  # of the measure, e.g. clip_score
    kind: PluginKind  # image_text: cosine of picture and prompt (CLIP, SigLIP); classifier: score of a label (aesthetic models too)
    model: str  # a folder in transformers layout, or a name on the model hub
    label: str | None = None  # classifier: which label's probability; None: the last one, or the bare value of a model with one output
    device: str = "auto"
    dtype: Dtype = "auto"

    def __post_init__(self) -> None:
        _refuse(not self.name.isidentifier(), "filter.plugins.name", self.name, "letters, digits and _")
        _check_device("filter.plugins", self.device)


@dataclass(frozen=True, kw_only=True)
class FilterConfig:
    """Quality gate; what it measures is stored for kept and dropped pictures alike."""

    pose_model: str = EMBEDDED  # embedded: the model inside the mediapipe wheel; or the path of a pose_landmarker .task file
    num_workers: int | None = None  # processes that find key points; null: one a core of this worker; 0: in the stage's own process
    batch_size: int = 64  # pictures in memory at once
    thresholds: Thresholds = field(default_factory=Thresholds)
    plugins: tuple[PluginConfig, ...] = ()

    def __post_init__(self) -> None:
        names = [plugin.name for plugin in self.plugins]
        _refuse(len(set(names)) < len(names), "filter.plugins", names, "a name of its own for each")
        unknown = sorted(set(self.thresholds.min_measures) - set(names))
        _refuse(
            bool(unknown), "filter.thresholds.min_measures", unknown, f"names of filter.plugins ({', '.join(names) or 'there are none'})"
        )
        check_ranges("filter", self, num_workers=Range(0, 256), batch_size=COUNT)


@dataclass(frozen=True, kw_only=True)
class RecropConfig:
    """Key points to a padded box of person aspect, written at one size."""

    height: int = 256  # px of the written picture
    width: int = 128
    pad_top: float = 0.16  # above the eyes, as a share of the height from eyes to toes: the skull and a hat
    pad_bottom: float = 0.04  # below the toes
    pad_side: float = 0.05  # beyond the outermost key points, of the same height
    min_height_px: int = 64  # smaller boxes are dropped: enlarging them invents no detail
    jpeg_quality: int = 95

    def __post_init__(self) -> None:
        side = Range(1, MAX_SIDE_PX)
        check_ranges("recrop", self, height=side, width=side, min_height_px=side, jpeg_quality=Range(1, 100))
        check_ranges("recrop", self, pad_top=SHARE, pad_bottom=SHARE, pad_side=SHARE)


@dataclass(frozen=True, kw_only=True)
class CaptionConfig:
    """Any BLIP captioner or image-text-to-text model of transformers, and the gate behind it."""

    model: str = EMBEDDED  # embedded, a folder, or a name on the model hub
    device: str = "auto"
    dtype: Dtype = "auto"
    batch_size: int = 32
    num_beams: int = 1
    num_candidates: int = 1  # BLIP: the best so many beams; the gate sees all of them
    choose: Literal["likelihood", "attributes"] = "likelihood"  # of those that pass; attributes: most stated, then likelihood
    require_answers: bool = True  # vision-language models: drop pictures whose answers about attributes are no valid JSON
    min_new_tokens: int = 5
    max_new_tokens: int | None = None  # None: 48 for BLIP, 160 for vision-language models, whose sentences are longer
    repetition_penalty: float = 1.0  # above 1 discourages words that were used; 1.1-1.5 helps stock BLIP
    no_repeat_ngram_size: int = 0  # 0: off. 3 or 4 helps stock BLIP
    min_words: int = 5  # shorter captions are dropped
    max_loop_words: int = 3  # a stretch of up to so many words (joiners like "and a" aside), of which more than ...
    max_loop_repeats: int = 2  # ... so many in a row make a loop: "a hat and a hat and a hat" (3 > 2); of longer stretches one less
    require_clothing: bool = True  # drop captions that name no garment

    def __post_init__(self) -> None:
        _check_device("caption", self.device)
        check_ranges("caption", self, batch_size=COUNT, num_beams=COUNT, num_candidates=COUNT, max_new_tokens=COUNT)
        check_ranges("caption", self, min_words=COUNT, max_loop_words=COUNT, max_loop_repeats=COUNT)
        check_ranges("caption", self, repetition_penalty=POSITIVE, no_repeat_ngram_size=NOT_NEGATIVE)
        most = VLM_NEW_TOKENS if self.max_new_tokens is None else self.max_new_tokens  # of BLIP: known where its folder is
        _refuse(not 0 <= self.min_new_tokens <= most, "caption.min_new_tokens", self.min_new_tokens, f"0 to max_new_tokens ({most})")


@dataclass(frozen=True, kw_only=True)
class AnnotateConfig:
    """Caption to 27 labels. The rules are data of this version (`annotation/rules.yaml`); their digest goes into the stage's."""

    text: Literal["caption", "prompt"] = "caption"  # which text the labels are read from
    precedence: Precedence = "text"  # over answers of a model (annotation/merge.py)


@dataclass(frozen=True, kw_only=True)
class ShardConfig:
    """Accepted samples to WebDataset shards."""

    samples_per_shard: int = 1000  # at most
    max_shard_bytes: int | None = None  # at most, as the tar stands on disk; a single larger sample has a shard of its own
    val_fraction: float = 0.1  # of the prompts; no prompt text stands on both sides
    max_hash_distance: int | None = 0  # drop pictures whose 64-bit perceptual hash differs in at most so many bits; None: keep all

    def __post_init__(self) -> None:
        check_ranges("shard", self, samples_per_shard=COUNT, max_shard_bytes=Range(20_000), val_fraction=BELOW_1)
        check_ranges("shard", self, max_hash_distance=Range(0, 4))


@dataclass(frozen=True, kw_only=True)
class GenerationConfig:
    """One generation run, prompts to shards."""

    run: RunConfig = field(default_factory=RunConfig)
    prompts: PromptsConfig = field(default_factory=PromptsConfig)
    generate: GenerateConfig = field(default_factory=GenerateConfig)
    filter: FilterConfig = field(default_factory=FilterConfig)
    recrop: RecropConfig = field(default_factory=RecropConfig)
    caption: CaptionConfig = field(default_factory=CaptionConfig)
    annotate: AnnotateConfig = field(default_factory=AnnotateConfig)
    shard: ShardConfig = field(default_factory=ShardConfig)
