"""What a person needs to see to judge a mark: the film with its mask, the film around the mask, the published crop."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from mammo.data.images import io, transforms
from mammo.data.images.dicom import PixelError
from mammo.data.images.transforms import Grey, Mask

CONTEXT = 2.0  # side of the square around a mask / longer side of the mask


class MarkView(NamedTuple):
    """A film (h, w) with its mask (h, w) 0/1; the film around the mask and the crop where there are any."""

    film: Grey
    mask: Mask
    around: Grey | None
    crop: Grey | None


def view_mark(root: Path, image_path: str, mask_path: str | None, crop_path: str | None) -> MarkView:
    """Read the files of a mark, which lie below `root`; a mask or crop that cannot be read is left out.

    Raises PixelError for a film that cannot be decoded; of a damaged one what its decoder makes of it is returned.
    """
    with io.capture_decoder_warnings():
        film = io.read_grey(root / image_path)
        mask, crop = _read_mask(root, mask_path, film.shape), _read_crop(root, crop_path)
    around = None
    if mask.any():
        around = transforms.crop(film, transforms.square_around(transforms.bounding_box(mask), CONTEXT))
    return MarkView(film, mask, None if around is None else np.asarray(around, np.uint8), crop)


def _read_mask(root: Path, path: str | None, film_shape: tuple[int, ...]) -> Mask:
    nothing = np.zeros(film_shape, np.uint8)
    if path is None:
        return nothing
    try:
        return io.read_mask(root / path, (film_shape[0], film_shape[1]))
    except PixelError:
        return nothing


def _read_crop(root: Path, path: str | None) -> Grey | None:
    if path is None:
        return None
    try:
        return io.read_grey(root / path)
    except PixelError:
        return None
