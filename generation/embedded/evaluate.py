"""`python -m generation.embedded evaluate`: the embedded models against attribute combinations that no training saw.

The same measures are taken on generated pictures and on fresh renders of the same persons: the second column is what the rules and the
judge themselves reach.
"""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from diffusers import StableDiffusionPipeline
from transformers import BlipForConditionalGeneration, BlipProcessor

from generation.annotate import annotate
from generation.backends.pose_bundle import pose_model
from generation.embedded.autoencoder import HEIGHT, WIDTH
from generation.embedded.corpus import Corpus, sample_held_out_person
from generation.embedded.judge import train_judge
from generation.embedded.measure import measure_pictures
from generation.embedded.render.captions import caption
from generation.embedded.render.labels import labels27
from generation.embedded.render.person import VIEWS, Person
from generation.embedded.render.scene import render_person
from pipeline.contracts.attributes import PERSON_27
from pipeline.fileio import write_bytes, write_json

JUDGE_CHUNKS, GENERATION_BATCH = 6, 25


def evaluate(work: Path, weights: Path, out: Path, *, count: int, steps: int, guidance: float, seed: int) -> dict[str, Any]:
    """Measure `count` held-out prompts; write evaluation.json and contact sheets into `out`; return the numbers."""
    judge = train_judge(Corpus.open(work / "renders", JUDGE_CHUNKS, seed), work, seed)
    persons, views, prompts = held_out_prompts(count, seed)
    pose = pose_model("embedded")
    results: dict[str, Any] = {"prompts": count, "steps": steps, "guidance": guidance, "seed": seed}
    renders = _renders(persons, views, seed)
    results["renders"] = measure_pictures(renders, persons, pose, judge)
    if (weights / "captioner").is_dir():
        results["captioner_on_renders"] = measure_captioner(weights / "captioner", renders, persons)
    if (weights / "diffusion").is_dir():
        pipeline = load_pipeline(weights / "diffusion")
        images = generate(pipeline, prompts, [seed + i for i in range(count)], steps, guidance)
        results["generated"] = measure_pictures(images, persons, pose, judge)
        results["diversity"] = diversity(pipeline, images, prompts, steps, guidance, seed)
        write_bytes(out / "generated.png", contact_sheet(images[:60]))
    write_bytes(out / "renders.png", contact_sheet(renders[:60]))
    write_json(out / "evaluation.json", results)
    return results


def held_out_prompts(count: int, seed: int) -> tuple[list[Person], list[str], list[str]]:
    """Persons of held-out combinations, their views and captions that state every attribute."""
    persons, views, prompts = [], [], []
    for i in range(count):
        rng = np.random.default_rng((seed, 99, i))
        persons.append(sample_held_out_person(rng))
        views.append(str(rng.choice(VIEWS)))
        prompts.append(caption(persons[-1], views[-1], rng, full=True))
    return persons, views, prompts


def _renders(persons: list[Person], views: list[str], seed: int) -> list[np.ndarray]:
    pairs = zip(persons, views, strict=True)
    return [
        render_person(p, np.random.default_rng((seed, 98, i)), height=HEIGHT, width=WIDTH, view=v, background=None).image
        for i, (p, v) in enumerate(pairs)
    ]


def load_pipeline(folder: Path) -> StableDiffusionPipeline:
    pipeline = StableDiffusionPipeline.from_pretrained(folder, dtype=torch.float32, safety_checker=None, local_files_only=True)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def generate(pipeline: StableDiffusionPipeline, prompts: list[str], seeds: list[int], steps: int, guidance: float) -> list[np.ndarray]:
    """(128, 64, 3) uint8 RGB pictures, one generator each."""
    images: list[np.ndarray] = []
    for start in range(0, len(prompts), GENERATION_BATCH):
        part = slice(start, start + GENERATION_BATCH)
        generators = [torch.Generator().manual_seed(s) for s in seeds[part]]
        found = pipeline(
            prompts[part], height=HEIGHT, width=WIDTH, num_inference_steps=steps, guidance_scale=guidance, generator=generators
        )
        images += [np.asarray(image) for image in found.images]
    return images


def measure_captioner(folder: Path, images: list[np.ndarray], persons: list[Person]) -> dict[str, Any]:
    """Shares of pictures whose caption, read by the keyword rules, states the truth. Silence about a hat or backpack counts as "none"."""
    processor = BlipProcessor.from_pretrained(folder)
    model = BlipForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).eval()
    captions: list[str] = []
    for start in range(0, len(images), 50):
        inputs = processor(images=images[start : start + 50], return_tensors="pt")
        with torch.no_grad():
            captions += processor.batch_decode(model.generate(**inputs, max_new_tokens=46), skip_special_tokens=True)
    named = [annotate(text) for text in captions]
    truth = [dict(zip(PERSON_27.names, labels27(p), strict=True)) for p in persons]
    result: dict[str, Any] = {"examples": captions[:5]}
    for name in ("gender", "age", "hair_length", "sleeve_length", "lower_length", "lower_type"):
        result[name] = _share([n.get(name) == t[name] for n, t in zip(named, truth, strict=True)])
    for name in ("hat", "backpack", "handbag", "bag"):
        result[name] = _share([(n.get(name) == 0) == (t[name] == 0) for n, t in zip(named, truth, strict=True)])
    for part in ("upper", "lower"):
        columns = [n for n in PERSON_27.names if n.startswith(f"{part}_") and n not in ("lower_length", "lower_type")]
        result[f"{part}_colour"] = _share([all(n.get(c) == t[c] for c in columns) for n, t in zip(named, truth, strict=True)])
    return result


def diversity(
    pipeline: StableDiffusionPipeline, images: list[np.ndarray], prompts: list[str], steps: int, guidance: float, seed: int
) -> dict[str, float]:
    """Mean root-mean-square pixel difference (0-1): same prompt and another seed; same seed and another prompt; two unrelated pictures."""
    n = min(50, len(prompts) // 2)
    other_seed = generate(pipeline, prompts[:n], [seed + 10_000 + i for i in range(n)], steps, guidance)
    other_prompt = generate(pipeline, prompts[n : 2 * n], [seed + i for i in range(n)], steps, guidance)
    return {
        "same_prompt_two_seeds": _distance(images[:n], other_seed),
        "two_prompts_one_seed": _distance(images[:n], other_prompt),
        "unrelated": _distance(images[:n], images[n : 2 * n]),
    }


def _distance(one: list[np.ndarray], other: list[np.ndarray]) -> float:
    pairs = zip(one, other, strict=True)
    return round(float(np.mean([np.sqrt(np.mean((a.astype(float) - b) ** 2)) / 255 for a, b in pairs])), 4)


def contact_sheet(images: list[np.ndarray], columns: int = 15) -> bytes:
    """PNG bytes of the pictures in rows."""
    blank = np.full_like(images[0], 255)
    padded = images + [blank] * (-len(images) % columns)
    rows = [np.hstack(padded[i : i + columns]) for i in range(0, len(padded), columns)]
    return cv2.imencode(".png", np.vstack(rows)[..., ::-1])[1].tobytes()


def _share(flags: list[bool]) -> float:
    return round(float(np.mean(flags)), 4)
