"""Libraries that talk on stderr of what no user can act on: bars for loading weights, image processors that stand in for each other."""


def silence_transformers() -> None:
    """Errors only. Call it before its classes are imported: some of them talk while they are."""
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()


def silence_diffusers() -> None:
    """The same of diffusers, which loads transformers."""
    silence_transformers()
    from diffusers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
