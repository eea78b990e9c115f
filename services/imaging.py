"""Pixels in, a small picture out. The only module that knows the image library.

It runs in processes of its own (`services.thumbnails_child`), since a decoder of bytes that
strangers sent may crash, hang, or ask for all memory. A file is given to the one reader of its
type, and no table of readers is asked: nothing but what stands in `_READERS` is ever tried.
"""

import io
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, BinaryIO, Final

import pillow_heif.options
from PIL import AvifImagePlugin, ExifTags, Image, ImageCms, ImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile
from pillow_heif import HeifImageFile

from services.thumbnails_wanted import FIT_COVER

_READERS: Final[dict[str, Callable[[BinaryIO], ImageFile.ImageFile]]] = {
    "image/avif": AvifImagePlugin.AvifImageFile,
    "image/gif": GifImageFile,
    "image/heic": HeifImageFile,
    "image/heif": HeifImageFile,
    "image/jpeg": JpegImageFile,
    "image/png": PngImageFile,
    "image/webp": WebPImageFile,
}
_ENCODINGS: Final[dict[str, dict[str, Any]]] = {
    "jpeg": {"format": "JPEG", "quality": 80, "optimize": True},
    "webp": {"format": "WEBP", "quality": 80, "method": 4},
    "avif": {"format": "AVIF", "quality": 60, "speed": 8, "max_threads": 1},
}
_GAP: Final = 2.0
"""How many times larger than asked for a decoder's own reduction, and a first box filter, may
leave a picture before it is resampled properly."""
_TURNS: Final = {
    2: (Image.Transpose.FLIP_LEFT_RIGHT,),
    3: (Image.Transpose.ROTATE_180,),
    4: (Image.Transpose.FLIP_TOP_BOTTOM,),
    5: (Image.Transpose.TRANSPOSE,),
    6: (Image.Transpose.ROTATE_270,),
    7: (Image.Transpose.TRANSVERSE,),
    8: (Image.Transpose.ROTATE_90,),
}
"""What makes a picture upright, by its EXIF orientation (Exif 2.32 §4.6.4, tag 0x0112)."""
_SRGB: Final = ImageCms.createProfile("sRGB")
_WIDE: Final = ("I", "F")


class Refused(Exception):
    """A picture that is not made; the message is a sentence for the client."""


@dataclass(frozen=True, slots=True)
class Shape:
    """What a picture measures, in pixels as it is shown, and the orientation that its file says."""

    width: int
    height: int
    orientation: int


@dataclass(frozen=True, slots=True)
class Box:
    """What is wanted: pixels as shown, how they are filled, and the form of the result."""

    width: int
    height: int
    fit: str
    format: str


def prepare() -> None:
    """Set bounds that the library keeps for the whole process."""
    warnings.simplefilter("error", Image.DecompressionBombWarning)
    AvifImagePlugin.DEFAULT_MAX_THREADS = 1
    pillow_heif.options.DECODE_THREADS = 1
    pillow_heif.options.DEPTH_IMAGES = False
    pillow_heif.options.AUX_IMAGES = False


def types() -> frozenset[str]:
    """Return the types that there is a reader for."""
    return frozenset(_READERS)


def measure(source: BinaryIO, content_type: str, *, max_pixels: int) -> Shape:
    """Return what the head of a file says of its picture. Raises Refused."""
    with _opened(source, content_type, max_pixels) as image:
        return _shape(image)


def make(source: BinaryIO, content_type: str, box: Box, *, max_pixels: int) -> tuple[Shape, bytes]:
    """Return what the picture measures, and a small one of its first frame in sRGB.

    Nothing of the file but its pixels gets into it: no EXIF, XMP, comment or profile. It is
    upright, and never larger than the picture. Raises Refused.
    """
    with _opened(source, content_type, max_pixels) as image:
        shape = _shape(image)
        size, part = _layout(shape, box)
        small = _reduced(image, size, part, max_pixels)
        profile = image.info.get("icc_profile")
    upright = _in_srgb(small, profile)
    for turn in _TURNS.get(shape.orientation, ()):
        upright = upright.transpose(turn)
    return shape, _encoded(upright, box.format)


def _opened(source: BinaryIO, content_type: str, max_pixels: int) -> ImageFile.ImageFile:
    Image.MAX_IMAGE_PIXELS = max_pixels
    image = _READERS[content_type](source)
    _require_bounded(image, max_pixels)
    return image


def _require_bounded(image: Image.Image, max_pixels: int) -> None:
    pixels = image.width * image.height
    if pixels > max_pixels:
        raise Refused(f"The image has {pixels:,} pixels, and at most {max_pixels:,} are read")


def _shape(image: Image.Image) -> Shape:
    orientation = _orientation(image)
    turned = orientation >= 5
    width, height = (image.height, image.width) if turned else image.size
    return Shape(width, height, orientation)


def _orientation(image: Image.Image) -> int:
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:
        # EXIF that cannot be read says nothing; the pixels may be sound.
        return 1
    return orientation if orientation in _TURNS else 1


def _layout(shape: Shape, box: Box) -> tuple[tuple[int, int], tuple[float, float, float, float]]:
    """Return the size of the result and the part of the picture that is in it.

    Both lie as the file has its pixels, and the part is in shares of its width and height.
    """
    shown_width, shown_height = float(shape.width), float(shape.height)
    if box.fit == FIT_COVER:
        shown_width = min(shape.width, shape.height * box.width / box.height)
        shown_height = min(shape.height, shape.width * box.height / box.width)
    scale = min(box.width / shown_width, box.height / shown_height, 1.0)
    size = (max(round(shown_width * scale), 1), max(round(shown_height * scale), 1))
    left = (1 - shown_width / shape.width) / 2
    top = (1 - shown_height / shape.height) / 2
    if shape.orientation >= 5:
        return (size[1], size[0]), (top, left, 1 - top, 1 - left)
    return size, (left, top, 1 - left, 1 - top)


def _reduced(
    image: ImageFile.ImageFile,
    size: tuple[int, int],
    part: tuple[float, float, float, float],
    max_pixels: int,
) -> Image.Image:
    """Decode, by the decoder's own reduction where it has one, and resample."""
    left, top, right, bottom = part
    wanted = (size[0] / (right - left) * _GAP, size[1] / (bottom - top) * _GAP)
    image.draft(None, (int(wanted[0]), int(wanted[1])))
    image.load()
    # A later part of the file may have enlarged it.
    _require_bounded(image, max_pixels)
    plain = _plain(image)
    edges = (plain.width * left, plain.height * top, plain.width * right, plain.height * bottom)
    return plain.resize(size, Image.Resampling.BICUBIC, edges, _GAP)


def _plain(image: Image.Image) -> Image.Image:
    """Return the pixels in a mode that can be resampled: L, RGB, RGBA or CMYK."""
    if image.mode.startswith(_WIDE):
        return _in_eight_bits(image)
    if "transparency" in image.info or image.mode in ("LA", "La", "PA", "RGBa"):
        return image.convert("RGBA")
    if image.mode == "1":
        return image.convert("L")
    return image if image.mode in ("L", "RGB", "RGBA", "CMYK") else image.convert("RGB")


def _in_eight_bits(image: Image.Image) -> Image.Image:
    """Scale 16-bit grey down; a plain conversion would cut off all that is brighter than 255."""
    wide = image if image.mode in _WIDE else image.convert("I")
    return wide.point(lambda value: value * (1 / 257)).convert("L")


def _in_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Return RGB or RGBA in sRGB. A profile that is damaged or not of this mode is passed over."""
    mode = "RGBA" if image.mode == "RGBA" else "RGB"
    if profile:
        try:
            given = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            turned = ImageCms.profileToProfile(image, given, _SRGB, outputMode=mode)
            if turned is not None:
                return turned
        except (ImageCms.PyCMSError, OSError, ValueError):
            pass
    return image.convert(mode)


def _encoded(image: Image.Image, form: str) -> bytes:
    if form == "jpeg" and image.mode == "RGBA":
        ground = Image.new("RGB", image.size, "white")
        ground.paste(image, mask=image.getchannel("A"))
        image = ground
    # Encoders write what they find there: comments, profiles, XMP.
    image.info = {}
    out = io.BytesIO()
    image.save(out, **_ENCODINGS[form])
    return out.getvalue()
