"""Numbers that say whether a picture is fit, whatever it shows. Stored for every picture; `filter_decision` reads them.

Measures are taken at one height, so that a threshold means the same for a 256-pixel and a 1024-pixel picture; only noise is measured on
the original pixels, because resizing removes it.
"""

import numpy as np
import numpy.typing as npt

from generation.images import Image, encode_jpeg, resize_to_height

NORMAL_HEIGHT_PX = 256
JPEG_QUALITY = 95
_NOISE_KERNEL = np.array(((1, -2, 1), (-2, 4, -2), (1, -2, 1)), np.float32)
_NEIGHBOURS = np.array(((1, 1, 1), (1, 0, 1), (1, 1, 1)), np.uint8)

Plane = npt.NDArray[np.float32]


def measure_image(image: Image, encoded_bytes: int) -> dict[str, float]:
    """Measures of one (H, W, 3) uint8 RGB picture.

    Returns: width_px, height_px; encoded_bytes (the file as it came); luma_std (0-128); entropy_bits (0-8, of the luma histogram);
    channel_variance (mean over pixels of the variance over R, G, B); colour_variance (see `colour_variance`); laplacian_variance;
    noise_sigma (grey levels, see there); jpeg_bytes_per_px (information content, independent of the file's format).
    """
    normal = resize_to_height(image, NORMAL_HEIGHT_PX)
    luma = _luma(normal)
    return {
        "width_px": image.shape[1],
        "height_px": image.shape[0],
        "encoded_bytes": encoded_bytes,
        "luma_std": _rounded(luma.std()),
        "entropy_bits": _rounded(entropy_bits(luma)),
        "channel_variance": _rounded(_planes(normal).var(axis=0).mean()),
        "colour_variance": _rounded(colour_variance(normal)),
        "laplacian_variance": _rounded(laplacian_variance(luma)),
        "noise_sigma": _rounded(noise_sigma(_luma(image))),
        "jpeg_bytes_per_px": _rounded(len(encode_jpeg(normal, JPEG_QUALITY)) / luma.size),
    }


def colour_variance(image: Image) -> float:
    """Variance of the channels that brightness does not explain, mean over pixels and channels.

    Each channel is regressed on the mean of the three. What is left is 0 for grey pictures and nearly 0 for tinted ones (sepia), which
    the plain variance over channels takes for colourful.
    """
    planes = _planes(image)
    centred = planes - planes.mean(axis=1, keepdims=True)
    brightness = centred.mean(axis=0)
    slope = (centred * brightness).mean(axis=1, keepdims=True) / (np.square(brightness).mean() + 1e-6)
    return float(np.square(centred - brightness * slope).mean())


def entropy_bits(luma: Plane) -> float:
    """Entropy of the histogram of 256 grey levels, 0 (one level) to 8."""
    counts = np.bincount(luma.astype(np.uint8).ravel(), minlength=256)
    shares = counts[counts > 0] / luma.size
    return float(-(shares * np.log2(shares)).sum()) + 0.0  # + 0.0: no minus zero


def laplacian_variance(luma: Plane) -> float:
    """Variance of the 4-neighbour Laplacian; small when no edge is sharp."""
    import cv2

    return float(cv2.Laplacian(luma, cv2.CV_32F, ksize=1).var())


def noise_sigma(luma: Plane) -> float:
    """Standard deviation of pixel noise, of grain and of single wrong pixels together; edges and plane slopes do not move it.

    Grain: median response of Immerkaer's kernel, which does not see what befalls few pixels (salt and pepper). These: by how much a pixel
    is brighter or darker than all of its neighbours.
    """
    import cv2

    if min(luma.shape) < 3:
        return 0.0
    response = np.abs(cv2.filter2D(luma, -1, _NOISE_KERNEL)[1:-1, 1:-1])
    grain = float(np.median(response)) / 0.6745 / 6.0  # 0.6745: median of |N(0, 1)|; 6: norm of the kernel
    lonely = np.maximum(luma - cv2.dilate(luma, _NEIGHBOURS), cv2.erode(luma, _NEIGHBOURS) - luma).clip(0)
    return float(np.hypot(grain, np.sqrt(np.square(lonely).mean())))


def _luma(image: Image) -> Plane:
    import cv2

    return np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), dtype=np.float32)


def _planes(image: Image) -> Plane:
    """(H, W, 3) -> (3, H * W): arithmetic along whole channels takes a tenth of the time."""
    return np.ascontiguousarray(image.reshape(-1, 3).T, dtype=np.float32)


def _rounded(value: float) -> float:
    """Six digits: enough for any threshold, and short in JSON."""
    return float(f"{float(value):.6g}")
