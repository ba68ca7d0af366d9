"""The naive way of `generation_speed.py`, in a process of its own: `naive_generation.py FOLDER IMAGES [A.B=C ...]`.

What research scripts do: a loop over the plain diffusers pipeline, one prompt at a time.
"""

import json
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from diffusers import StableDiffusionPipeline
from transformers import BlipForConditionalGeneration, BlipProcessor

from generation.annotate import annotate
from generation.backends.pose import PoseDetector
from generation.backends.pose_bundle import pose_model
from generation.caption_gate import caption_reason
from generation.config import BLIP_NEW_TOKENS, EMBEDDED_WEIGHTS, GenerationConfig
from generation.crop import crop_to_size
from generation.filter_decision import decide
from generation.image_measures import measure_image
from generation.pose_measures import measure_persons
from generation.prompts import image_items, prompt_rows
from generation.recrop import crop_box
from pipeline.config import load
from pipeline.seeds import derive_seed

RECIPE = Path(__file__).parents[1] / "configs" / "generation" / "demo.yaml"


def naive(folder: Path, images: int, settings: Sequence[str]) -> None:
    """Writes FOLDER/kept.json: keys that filter, crop and caption gate keep, and seconds by part."""
    config = load(GenerationConfig, RECIPE, list(settings))
    pipeline = StableDiffusionPipeline.from_pretrained(
        EMBEDDED_WEIGHTS / "diffusion", dtype=torch.float32, safety_checker=None, local_files_only=True
    )
    pipeline.set_progress_bar_config(disable=True)
    pose = PoseDetector(pose_model("embedded"))
    processor = BlipProcessor.from_pretrained(EMBEDDED_WEIGHTS / "captioner", local_files_only=True)
    captioner = BlipForConditionalGeneration.from_pretrained(
        EMBEDDED_WEIGHTS / "captioner", dtype=torch.float32, local_files_only=True
    ).eval()
    folder.mkdir(parents=True)
    spent = dict.fromkeys(("generate", "png", "pose", "caption"), 0.0)

    def clocked(part: str, work: Callable[[], Any]) -> Any:
        started = time.perf_counter()
        made = work()
        spent[part] += time.perf_counter() - started
        return made

    result: list[str] = []
    began = time.perf_counter()
    for item in image_items(prompt_rows(config.prompts, config.run.seed), 0, images, config.prompts.variants):
        file = folder / f"{item.key}.png"
        generator = torch.Generator("cpu").manual_seed(derive_seed(config.run.seed, "generate", item.key))
        options = {"num_inference_steps": config.generate.steps, "guidance_scale": config.generate.guidance, "generator": generator}
        picture = clocked("generate", partial(pipeline, item.row["prompt"], **options)).images[0]
        clocked("png", partial(picture.save, file))
        image = np.ascontiguousarray(clocked("png", partial(cv2.imread, str(file)))[:, :, ::-1])
        persons = clocked("pose", partial(pose.detect, image))
        measures = measure_image(image, file.stat().st_size) | measure_persons(persons, image.shape[1], image.shape[0])
        if decide(measures, config.filter.thresholds) is not None:
            continue
        crop = config.recrop
        box = crop_box(persons[0], crop)
        if box[3] - box[1] < crop.min_height_px:
            continue
        cropped = crop_to_size(image, box, crop.height, crop.width)
        cv2.imwrite(str(folder / f"{item.key}.jpg"), cropped[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, crop.jpeg_quality])

        def caption(pixels: Any = cropped) -> str:
            inputs = processor(images=pixels, return_tensors="pt")
            with torch.no_grad():
                ids = captioner.generate(
                    **inputs, max_new_tokens=config.caption.max_new_tokens or BLIP_NEW_TOKENS, min_new_tokens=config.caption.min_new_tokens
                )
            return str(processor.decode(ids[0], skip_special_tokens=True))

        text = clocked("caption", caption)
        annotate(text)
        if caption_reason(text, config.caption) is None:
            result.append(item.key)
    answer = {"kept": result, "loop_seconds": time.perf_counter() - began, "spent": spent, "threads": torch.get_num_threads()}
    (folder / "kept.json").write_text(json.dumps(answer))


if __name__ == "__main__":
    naive(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
