"""How pictures of a CLIP or BLIP are augmented. No torch and no OpenCV: read with the config."""

from dataclasses import dataclass

from pipeline.ranges import NOT_NEGATIVE, POSITIVE, SHARE, Range, check_ranges
from pretrain.settings import AugmentConfig

CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


@dataclass(frozen=True, kw_only=True)
class PictureConfig:
    """Defaults: IRRA's."""

    flip: float = 0.5  # probability of a mirrored picture
    pad_px: int = 10  # zeros around it, out of which a crop of the old size is taken
    crop_scale: float = 1.0  # below 1: a crop of at least this share of the area, enlarged to the size (BLIP 0.5, A3R 0.9)
    operations: int = 0  # RandAugment: how many are drawn
    level: int = 5  # RandAugment: strength, 0 to 10
    erasing: float = 0.5  # probability that a rectangle is filled
    erase_with_mean: bool = True  # True: with the numbers of `mean`, as IRRA does, although pixels are normalised by then; False: 0
    degrade: float = 0.0  # probability of a camera's look: small, blurred, noisy, compressed (web photographs to surveillance)
    square: bool = False  # pad with black to a square before resizing
    mean: tuple[float, float, float] = CLIP_MEAN
    std: tuple[float, float, float] = CLIP_STD

    def __post_init__(self) -> None:
        check_ranges("image", self, flip=SHARE, erasing=SHARE, degrade=SHARE, crop_scale=Range(0, 1, open_below=True))
        check_ranges("image", self, pad_px=NOT_NEGATIVE, level=Range(0, 10), operations=NOT_NEGATIVE, mean=SHARE, std=POSITIVE)

    def plain(self) -> AugmentConfig:
        """The part that `pretrain.augment` understands."""
        return AugmentConfig(operations=self.operations, level=self.level, mean=self.mean, std=self.std)
