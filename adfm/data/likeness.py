"""When two images show the same thing: two measures, each of which finds what the other misses.

The perceptual hash of `imagehash` finds a picture that was encoded again, resized or lit in another way, can be kept
for each file, and compares 100,000 with each other. The correlation of thumbnails is graded and also joins shifted
views of one part.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import imagehash
import numpy as np
from jaxtyping import Bool, Float
from PIL import Image

from adfm.data.cache import Digests, Hashes, Thumbnails
from adfm.data.images import read_image
from adfm.data.processes import mapped

THUMBNAIL = 32
"""Side of the thumbnails that are compared, in pixels."""
HASH_SIDE = 16
"""A perceptual hash has so many bits, squared."""
NEAR = 25
"""Pictures whose hashes differ in at most so many of 256 bits are near-duplicates."""
_BLOCK = 2048


def alike(images: Sequence[Path], similarity: float) -> list[tuple[int, int]]:
    """Return the pairs (i, j), i < j, of images that are near-duplicates by hash or correlate by `similarity` or more.

    Hashes and thumbnails are kept in the cache folder, so that only what changed is read again.

    Raises:
        DataError: An image cannot be read.
    """
    with Digests() as digests, Hashes() as hashes, Thumbnails(THUMBNAIL**2) as thumbnails:
        keys = [digests.of(image) for image in images]
        known = hashes.keys() & thumbnails.keys()
        new = {key: image for key, image in zip(keys, images, strict=True) if key not in known}
        for key, (own_hash, own_thumbnail) in zip(new, mapped(_seen, [*new.values()], doing="comparing"), strict=True):
            hashes[key], thumbnails[key] = own_hash, own_thumbnail
        vectors = as_vectors([hashes[key] for key in keys])
        views = np.array([standardised(thumbnails[key]) for key in keys])
    return sorted({*similar_pairs(vectors, same_picture()), *similar_pairs(views, similarity)})


def _seen(path: Path) -> tuple[str, bytes]:
    image = read_image(path)
    return perceptual_hash(image), thumbnail(image)


def kept_hashes(images: Sequence[Path]) -> list[str | None]:
    """Return the perceptual hash of each image that is as it was when its hash was kept; no image is read."""
    with Digests() as digests, Hashes() as hashes:
        return [None if (digest := digests.kept(image)) is None else hashes.get(digest) for image in images]


def same_picture() -> float:
    """Return the dot product from which two hash vectors are near-duplicates."""
    return 1 - 2 * NEAR / HASH_SIDE**2


def perceptual_hash(image: Image.Image) -> str:
    """Return the 256 bits of the image's low frequencies as hexadecimal digits (`imagehash.phash`)."""
    return str(imagehash.phash(image, hash_size=HASH_SIDE))


def as_vectors(hashes: Sequence[str]) -> Float[np.ndarray, "image bit"]:
    """Return hashes as vectors of length 1, so that a dot product is 1 - 2 x the share of bits that differ."""
    bits: Bool[np.ndarray, "image bit"] = np.unpackbits(
        np.frombuffer(bytes.fromhex("".join(hashes)), np.uint8)
    ).reshape(len(hashes), HASH_SIDE**2)
    return np.where(bits, 1 / HASH_SIDE, -1 / HASH_SIDE).astype(np.float32)


def thumbnail(image: Image.Image) -> bytes:
    """Return the image as 32 x 32 grey values."""
    return image.convert("L").resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BOX).tobytes()


def standardised(thumbnail: bytes) -> Float[np.ndarray, " pixel"]:
    """Return grey values with mean 0 and length 1, so that a dot product is a correlation.

    An image of one tone has no correlation with any other: its values are all 0.
    """
    values = np.frombuffer(thumbnail, np.uint8).astype(np.float32)
    values = values - values.mean()
    length = float(np.linalg.norm(values))
    return values / length if length > 1e-6 else np.zeros_like(values)


def similar_pairs(thumbnails: Float[np.ndarray, "image pixel"], threshold: float) -> list[tuple[int, int]]:
    """Return the pairs (i, j), i < j, whose correlation is at least `threshold`."""
    return [(first, second) for first, second in close(thumbnails, thumbnails, threshold) if first < second]


def close(
    first: Float[np.ndarray, "one value"], second: Float[np.ndarray, "other value"], threshold: float
) -> Iterator[tuple[int, int]]:
    """Yield the pairs whose dot product is at least `threshold`; compares all with all, a block of rows at a time."""
    for start in range(0, len(first), _BLOCK):
        for i, j in np.argwhere(first[start : start + _BLOCK] @ second.T >= threshold):
            yield start + int(i), int(j)
