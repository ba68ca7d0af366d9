"""`python -m generation.embedded COMMAND`: make and measure the small models that the repository carries."""

import sys
from pathlib import Path

import click

from pipeline.entry import call

WEIGHTS = Path(__file__).parent / "weights"
work_option = click.option(
    "--work",
    type=click.Path(path_type=Path),
    default=Path("training"),
    show_default=True,
    help="Folder for renders and states; keep it to resume.",
)
seed_option = click.option("--seed", default=20261121, show_default=True)


@click.group()
def main() -> None:
    """The embedded models: renders, trainings, evaluation, miniature data."""


@main.command("render-corpus")
@work_option
@seed_option
@click.option("--chunks", default=24, show_default=True, help="Chunks of 1,000 pictures.")
@click.option("--first", default=0, show_default=True, help="First chunk, for several processes side by side.")
def render_corpus(work: Path, seed: int, chunks: int, first: int) -> None:
    """Render the training pictures."""
    import cv2

    from generation.embedded.corpus import make_chunk

    cv2.setNumThreads(1)
    for number in range(first, chunks):
        make_chunk(work / "renders", number, seed)
        click.echo(f"chunk {number} ready")


@main.command("train-diffusion")
@work_option
@seed_option
@click.option("--out", type=click.Path(path_type=Path), default=WEIGHTS / "diffusion", show_default=False)
@click.option("--chunks", default=24, show_default=True)
@click.option("--vae-steps", default=1400, show_default=True)
@click.option("--decoder-steps", default=1500, show_default=True)
@click.option("--text-steps", default=300, show_default=True)
@click.option("--unet-steps", default=3000, show_default=True)
@click.option("--start", type=click.Path(path_type=Path, exists=True), help="Pipeline folder to go on from instead of random weights.")
def train_diffusion_command(
    work: Path, seed: int, out: Path, chunks: int, vae_steps: int, decoder_steps: int, text_steps: int, unet_steps: int, start: Path | None
) -> None:
    """Train VAE, text encoder and UNet; write a StableDiffusionPipeline folder."""
    from generation.embedded.diffusion import Steps, train_diffusion

    steps = Steps(vae=vae_steps, decoder=decoder_steps, text=text_steps, unet=unet_steps)
    train_diffusion(work, out, chunks=chunks, steps=steps, seed=seed, start=start)


@main.command("train-captioner")
@work_option
@seed_option
@click.option("--out", type=click.Path(path_type=Path), default=WEIGHTS / "captioner", show_default=False)
@click.option("--chunks", default=24, show_default=True)
@click.option("--vision-steps", default=1600, show_default=True)
@click.option("--steps", default=1200, show_default=True)
@click.option("--start", type=click.Path(path_type=Path, exists=True), help="Captioner folder to go on from instead of random weights.")
def train_captioner_command(work: Path, seed: int, out: Path, chunks: int, vision_steps: int, steps: int, start: Path | None) -> None:
    """Train the BLIP captioner; write a BlipForConditionalGeneration + BlipProcessor folder."""
    from generation.embedded.captioner import train_captioner

    train_captioner(work, out, chunks=chunks, vision_steps=vision_steps, steps=steps, seed=seed, start=start)


@main.command("evaluate")
@work_option
@seed_option
@click.option("--weights", type=click.Path(path_type=Path), default=WEIGHTS, show_default=False)
@click.option("--out", type=click.Path(path_type=Path), default=Path("training/evaluation"), show_default=True)
@click.option("--count", default=500, show_default=True, help="Held-out prompts.")
@click.option("--steps", default=20, show_default=True)
@click.option("--guidance", default=3.0, show_default=True)
def evaluate_command(work: Path, seed: int, weights: Path, out: Path, count: int, steps: int, guidance: float) -> None:
    """Measure the models on held-out attribute combinations."""
    import json

    from generation.embedded.evaluate import evaluate

    click.echo(json.dumps(evaluate(work, weights, out, count=count, steps=steps, guidance=guidance, seed=seed), indent=1))


@main.command("miniature", context_settings={"ignore_unknown_options": True}, add_help_option=False)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def miniature(arguments: tuple[str, ...]) -> None:
    """Draw the challenge miniature in the organisers' format (see miniature --help)."""
    from generation.embedded.miniature import command

    command.main(list(arguments), prog_name="miniature", standalone_mode=False)


if __name__ == "__main__":
    sys.exit(call(main, sys.argv[1:], "python -m generation.embedded"))
