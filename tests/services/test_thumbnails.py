"""What is made of images, and what is refused: by real processes, and by the rules before them."""

import io
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import psutil
import pytest
from PIL import Image, ImageCms

from services import imaging
from services.errors import ImageRefused, InvalidField, NotAnImage, ThumbnailsBusy
from services.stored import StoredFile
from services.thumbnails_child import TOO_MUCH, UNREADABLE
from services.thumbnails_pool import TOO_LONG, Pool
from services.thumbnails_wanted import (
    STEPS,
    TYPES,
    Variant,
    original_of,
    prefix_of,
    variant_of,
    wanted,
    without,
)
from storage.keys import is_valid, new_key
from tests.support.pictures import (
    CORNERS,
    FORMATS,
    corners,
    decoded,
    encoded,
    gif_of_many_frames,
    png,
)

ROOT = Path(__file__).parents[2]
MIB = 1024 * 1024


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    pool = Pool(processes=1, seconds=20, memory=512 * MIB)
    yield pool
    pool.close()


def ask(pool: Pool, data: bytes, content_type: str, **changes: Any) -> tuple[dict[str, Any], bytes]:
    box: dict[str, Any] = {"width": 64, "height": 64, "fit": "contain", "format": "webp"}
    most = changes.pop("max_pixels", 100_000_000)
    job = {"content_type": content_type, "max_pixels": most, "box": box | changes}
    with TemporaryFile() as source:
        source.write(data)
        source.flush()
        return pool.do(job, source)


def made(pool: Pool, data: bytes, content_type: str = "image/png", **changes: Any) -> Image.Image:
    return decoded(ask(pool, data, content_type, **changes)[1])


def refusal(pool: Pool, data: bytes, content_type: str = "image/png", **changes: Any) -> str:
    with pytest.raises(ImageRefused) as refused:
        ask(pool, data, content_type, **changes)
    return str(refused.value)


def near(colour: Any, expected: tuple[int, ...], within: int = 40) -> bool:
    return all(abs(a - b) <= within for a, b in zip(colour, expected, strict=True))


def corner_colours(image: Image.Image) -> list[Any]:
    right, bottom = image.width - 4, image.height - 4
    places = ((3, 3), (right, 3), (3, bottom), (right, bottom))
    return [image.convert("RGB").getpixel(place) for place in places]


def lies_upright(image: Image.Image) -> bool:
    found = corner_colours(image)
    return all(near(each, colour, 60) for each, colour in zip(found, CORNERS, strict=True))


def test_there_is_a_reader_for_each_type_that_is_taken_and_for_no_other() -> None:
    assert imaging.types() == TYPES


@pytest.mark.parametrize("content_type", FORMATS)
@pytest.mark.parametrize("form", ["webp", "jpeg", "avif"])
def test_each_type_becomes_each_form(pool: Pool, content_type: str, form: str) -> None:
    data = encoded(corners(), FORMATS[content_type])
    said, small = ask(pool, data, content_type, format=form)
    assert said["media"] == {"width": 120, "height": 80, "orientation": 1}
    image = decoded(small)
    assert (image.format or "").lower() == form
    assert image.size == (64, 43)
    assert lies_upright(image)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_comes_out_upright(pool: Pool, orientation: int) -> None:
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = corners() if orientation == 1 else corners().transpose(undo[orientation])
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(stored, "JPEG", exif=exif, quality=95)
    said, small = ask(pool, data, "image/jpeg")
    assert said["media"] == {"width": 120, "height": 80, "orientation": orientation}
    assert decoded(small).size == (64, 43)
    assert lies_upright(decoded(small))
    covering = made(pool, data, "image/jpeg", width=64, height=160, fit="cover")
    assert covering.size == (32, 80)
    assert lies_upright(covering)


@pytest.mark.parametrize(
    ("size", "box", "fit", "expected"),
    [
        ((30, 20), (64, 64), "contain", (30, 20)),
        ((30, 20), (64, 64), "cover", (20, 20)),
        ((1, 4000), (64, 2560), "contain", (1, 2560)),
        ((4000, 1), (64, 64), "contain", (64, 1)),
        ((1, 4000), (64, 64), "cover", (1, 1)),
        ((1, 1), (2560, 2560), "cover", (1, 1)),
        ((200, 100), (160, 2560), "contain", (160, 80)),
        ((200, 100), (64, 64), "cover", (64, 64)),
    ],
)
def test_a_thumbnail_fills_its_box_and_is_never_larger_than_the_image(
    pool: Pool, size: tuple[int, int], box: tuple[int, int], fit: str, expected: tuple[int, int]
) -> None:
    data = encoded(corners(*size))
    image = made(pool, data, width=box[0], height=box[1], fit=fit)
    assert image.size == expected


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16", "CMYK"])
def test_every_kind_of_pixel_becomes_srgb(pool: Pool, mode: str) -> None:
    grey = Image.new("L", (200, 100), 200)
    image = Image.new("I;16", (200, 100), 200 * 257) if mode == "I;16" else grey.convert(mode)
    form = "JPEG" if mode == "CMYK" else "PNG"
    small = made(pool, encoded(image, form), FORMATS_BY_NAME[form], format="jpeg")
    expected = 255 if mode == "1" else 200
    assert small.mode == "RGB"
    if mode == "1":
        # It is dithered: light on the whole.
        assert small.resize((1, 1)).getpixel((0, 0))[0] > 150  # type: ignore[index]
    else:
        assert near(small.getpixel((32, 16)), (expected,) * 3, 12)


FORMATS_BY_NAME = {form: content_type for content_type, form in FORMATS.items()}


def test_deep_png_and_transparent_palettes_are_read(pool: Pool) -> None:
    row = b"\x00" + struct_rgb16(40_000, 10_000, 60_000) * 100
    deep = made(pool, png(100, 50, row * 50, depth=16), format="jpeg")
    assert near(deep.getpixel((10, 10)), (156, 39, 233), 12)
    palette = corners().quantize(8)
    see_through = encoded(palette, "PNG", transparency=palette.getpixel((0, 0)))
    assert made(pool, see_through).convert("RGBA").getpixel((3, 3))[3] == 0  # type: ignore[index]


def struct_rgb16(*values: int) -> bytes:
    return b"".join(value.to_bytes(2, "big") for value in values)


def test_what_is_transparent_is_white_in_a_jpeg_and_stays_so_in_others(pool: Pool) -> None:
    data = encoded(Image.new("RGBA", (100, 100), (255, 0, 0, 0)))
    assert near(made(pool, data, format="jpeg").getpixel((32, 32)), (255, 255, 255), 3)
    assert made(pool, data, format="webp").convert("RGBA").getpixel((32, 32))[3] == 0  # type: ignore[index]


def test_colours_of_another_profile_are_translated(pool: Pool) -> None:
    swapped = ImageCms.ImageCmsProfile(io.BytesIO(swapped_profile()))
    data = encoded(Image.new("RGB", (100, 100), (255, 0, 0)), icc_profile=swapped.tobytes())
    small = made(pool, data)
    assert "icc_profile" not in small.info
    assert near(small.convert("RGB").getpixel((32, 32)), (0, 0, 255), 60)
    damaged = encoded(Image.new("RGB", (100, 100), (255, 0, 0)), icc_profile=b"none" * 100)
    assert near(made(pool, damaged).convert("RGB").getpixel((32, 32)), (255, 0, 0))


def swapped_profile() -> bytes:
    """Return the sRGB profile with the tags of red and blue exchanged."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    head, tags = profile[:128], profile[128:]
    tags = tags.replace(b"rXYZ", b"----").replace(b"bXYZ", b"rXYZ").replace(b"----", b"bXYZ")
    return head + tags


@pytest.mark.parametrize("form", ["webp", "jpeg", "avif"])
@pytest.mark.parametrize("content_type", ["image/jpeg", "image/png", "image/webp", "image/avif"])
def test_nothing_but_pixels_gets_into_a_thumbnail(pool: Pool, content_type: str, form: str) -> None:
    exif = Image.Exif()
    exif[0x010F] = "SECRETCAMERA"
    exif.get_ifd(0x8825).update({1: "N", 2: (52.0, 31.0, 12.0), 29: "SECRETDAY"})
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    told: dict[str, Any] = {"exif": exif, "xmp": b"<x>SECRETXMP</x>", "icc_profile": profile}
    if content_type == "image/jpeg":
        told["comment"] = b"SECRETCOMMENT"
    data = encoded(corners(), FORMATS[content_type], **told)
    assert b"SECRET" in data
    _, small = ask(pool, data, content_type, format=form, width=2560, height=2560)
    assert b"SECRET" not in small
    image = decoded(small)
    assert not image.getexif()
    assert image.info.keys().isdisjoint({"exif", "xmp", "icc_profile", "comment"})


def test_a_decompression_bomb_is_refused_before_it_is_read(pool: Pool) -> None:
    bomb = png(50_000, 50_000, bytes(1000))
    assert len(bomb) < 1000
    assert "2,500,000,000 pixels" in refusal(pool, bomb)
    gif = b"GIF89a" + (65535).to_bytes(2, "little") * 2 + gif_of_many_frames(1)[10:]
    assert "pixels" in refusal(pool, gif, "image/gif")
    assert "at most 9,599" in refusal(pool, encoded(corners()), max_pixels=9599)
    assert refusal(pool, png(0, 0)) == UNREADABLE


def test_a_picture_that_takes_too_much_memory_is_refused_and_the_next_is_made() -> None:
    pool = Pool(processes=1, seconds=20, memory=256 * MIB)
    try:
        rows = (b"\x00" + bytes(3 * 7500)) * 7500
        assert refusal(pool, png(7500, 7500, rows)) in (TOO_MUCH, UNREADABLE)
        assert made(pool, encoded(corners())).size == (64, 43)
    finally:
        pool.close()


def test_of_a_hundred_thousand_frames_the_first_is_read(pool: Pool) -> None:
    assert near(
        made(pool, gif_of_many_frames(100_000), "image/gif").convert("RGB").getpixel((0, 0)),
        (255, 0, 0),
    )
    frames = [Image.new("RGB", (80, 80), (shade, 0, 0)) for shade in range(0, 250, 10)]
    moving = {"save_all": True, "append_images": frames[1:]}
    for content_type in ("image/webp", "image/png", "image/avif"):
        data = encoded(frames[0], FORMATS[content_type], **moving)
        assert near(made(pool, data, content_type).convert("RGB").getpixel((9, 9)), (0, 0, 0), 12)


@pytest.mark.parametrize("content_type", FORMATS)
def test_a_picture_that_is_cut_short_or_damaged_is_refused(pool: Pool, content_type: str) -> None:
    dice = random.Random(7)
    noise = Image.frombytes("RGB", (200, 200), dice.randbytes(200 * 200 * 3))
    data = encoded(noise, FORMATS[content_type])
    for part in (b"", data[:1], data[: len(data) // 2]):
        assert refusal(pool, part, content_type) == UNREADABLE
    for _ in range(10):
        damaged = bytearray(data)
        for _ in range(20):
            damaged[dice.randrange(len(damaged))] = dice.randrange(256)
        try:
            ask(pool, bytes(damaged), content_type)
        except ImageRefused as error:
            assert str(error)


def test_bytes_of_another_type_reach_no_reader_but_that_of_the_type(pool: Pool) -> None:
    svg = b"<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>"
    psd = b"8BPS\x00\x01" + bytes(6) + b"\x00\x03" + bytes(4) + b"\x00\x00\x00\x09" + bytes(40)
    eps = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"
    others = [encoded(corners(), form) for form in ("TIFF", "BMP", "ICO", "PPM", "JPEG2000")]
    for data in (svg, psd, eps, *others):
        for content_type in TYPES:
            assert refusal(pool, data, content_type) == UNREADABLE
    assert refusal(pool, encoded(corners(), "PNG"), "image/jpeg") == UNREADABLE
    assert refusal(pool, encoded(corners(), "JPEG"), "image/png") == UNREADABLE


def slow_png() -> bytes:
    return png(9000, 9000, (b"\x00" + bytes(9000)) * 9000, colour=0)


def test_a_job_that_takes_too_long_ends_its_process_and_the_next_is_made() -> None:
    pool = Pool(processes=1, seconds=0.02, memory=512 * MIB)
    try:
        assert refusal(pool, slow_png()) == TOO_LONG
        pool._seconds = 20
        assert made(pool, encoded(corners())).size == (64, 43)
    finally:
        pool.close()


def test_a_reader_that_crashes_costs_one_request(pool: Pool) -> None:
    made(pool, encoded(corners()))
    child = pool.processes()[-1]
    refused: list[str] = []
    asking = threading.Thread(target=lambda: refused.append(refusal(pool, slow_png())))
    os.kill(child, signal.SIGSTOP)
    asking.start()
    while pool.processes():
        time.sleep(0.001)
    os.kill(child, signal.SIGSEGV)
    os.kill(child, signal.SIGCONT)
    asking.join()
    assert refused == [UNREADABLE]
    assert not psutil.pid_exists(child)
    assert made(pool, encoded(corners())).size == (64, 43)


def test_a_process_that_died_while_idle_is_replaced(pool: Pool) -> None:
    made(pool, encoded(corners()))
    pool._idle[-1]._process.kill()
    pool._idle[-1]._process.wait()
    assert made(pool, encoded(corners())).size == (64, 43)


def test_a_reader_has_no_secrets_no_files_and_few_rights(pool: Pool) -> None:
    made(pool, encoded(corners()))
    child = psutil.Process(pool.processes()[-1])
    assert set(child.environ()) <= {"PYTHONPATH", "MALLOC_ARENA_MAX", "LC_CTYPE"}
    assert child.open_files() == []
    assert child.rlimit(psutil.RLIMIT_AS)[0] == 512 * MIB
    assert child.rlimit(psutil.RLIMIT_FSIZE)[0] == child.rlimit(psutil.RLIMIT_CORE)[0] == 0


def test_when_too_many_wait_the_next_is_told_to_come_back() -> None:
    pool = Pool(processes=1, seconds=0.2, memory=512 * MIB)
    try:
        with pool._turn():
            with pytest.raises(ThumbnailsBusy):
                ask(pool, b"", "image/png")
            pool._waiting = 64
            with pytest.raises(ThumbnailsBusy):
                ask(pool, b"", "image/png")
    finally:
        pool.close()


def test_a_reader_ends_with_the_process_that_started_it() -> None:
    script = (
        "import os; from services.thumbnails_pool import _Child;"
        "print(_Child(2**29)._process.pid, flush=True); os.kill(os.getpid(), 9)"
    )
    ended = subprocess.run([sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE)
    child = int(ended.stdout)
    until = time.monotonic() + 10
    while psutil.pid_exists(child) and psutil.Process(child).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < until
        time.sleep(0.01)


def asked(**values: str) -> Any:
    return wanted({name: [value] for name, value in values.items()})


def test_sizes_are_rounded_up_to_steps() -> None:
    for given, step in ((1, 64), (64, 64), (65, 160), (320, 320), (2560, 2560), (99_999, 2560)):
        assert asked(w=str(given)).width == step
        assert asked(w=str(given)).height == STEPS[-1]
    assert (asked(h="100").width, asked(h="100").height) == (2560, 160)
    assert wanted({"download": ["1"]}) is None


def test_one_image_has_a_bounded_number_of_thumbnails() -> None:
    file = stored_file()
    keys = {
        variant_of(file, asked(w=str(w), h=str(h), fit=fit, format=form), "").key
        for w in range(1, 5000, 31)
        for h in range(1, 5000, 997)
        for fit in ("contain", "cover")
        for form in ("webp", "jpeg", "avif")
    }
    assert len(keys) <= 2 * 3 * len(STEPS) ** 2
    assert all(is_valid(key) and original_of(key) == file.key for key in keys)
    assert all(key.startswith(prefix_of(file.key)) for key in keys)


@pytest.mark.parametrize(
    "values",
    [
        {"w": "0"},
        {"w": "-5"},
        {"w": "1e3"},
        {"w": ""},
        {"w": "٣"},
        {"w": "320.5"},
        {"h": "1000000"},
        {"fit": "cover"},
        {"w": "9", "fit": "cover"},
        {"w": "9", "fit": "fill"},
        {"w": "9", "format": "png"},
        {"format": "webp"},
    ],
)
def test_an_impossible_size_is_refused_with_its_name(values: dict[str, str]) -> None:
    with pytest.raises(InvalidField, match=r"^(w|h|fit|format): "):
        asked(**values)
    with pytest.raises(InvalidField, match="more than once"):
        wanted({"w": ["1", "2"]})


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("", "jpeg"),
        ("*/*", "jpeg"),
        ("image/webp", "webp"),
        ("image/avif,image/webp,*/*;q=0.8", "avif"),
        ("image/avif;q=0, image/webp ; q=0.5", "webp"),
        ("image/avif;q=0.0,image/webp;q=0", "jpeg"),
        ("IMAGE/WEBP", "webp"),
    ],
)
def test_the_smallest_form_that_a_client_names_is_chosen(accept: str, expected: str) -> None:
    variant = variant_of(stored_file(), asked(w="9", format="auto"), accept)
    assert variant.format == expected


def test_the_key_of_a_thumbnail_says_whose_it_is_and_nothing_else_does() -> None:
    key = new_key()
    variant = variant_of(stored_file(key=key), asked(w="320"), "")
    assert original_of(variant.key) == key
    for other in (
        key,
        key + new_key()[3:],
        "00/" + variant.key[3:],
        "ab/short0",
        variant.key[:-12],
    ):
        assert original_of(other) in (None, key if other == variant.key[:-12] else None)
    assert original_of("aa/" + variant.key[3:]) is None or key.startswith("aa")


def test_a_thumbnail_is_shown_under_the_name_of_its_type() -> None:
    def name(filename: str, form: str, content_type: str = "image/png") -> str:
        file = stored_file(filename=filename, content_type=content_type)
        return variant_of(file, asked(w="9", format=form), "").shown(file, 5).filename

    assert name("a.b.png", "webp") == "a.b.webp"
    assert name("photo", "jpeg") == "photo.jpg"
    assert name(".png", "avif") == ".png.avif"
    assert name("a.jpeg", "jpeg", "image/jpeg") == "a.jpeg"


def test_a_thumbnail_has_an_etag_of_its_own_and_not_the_digest_of_the_file() -> None:
    file = stored_file()
    variants = [variant_of(file, asked(w=w, format=f), "") for w in ("9", "99") for f in FORMS]
    shown = [variant.shown(file, 7) for variant in variants]
    assert len({each.etag for each in shown} | {file.etag}) == len(shown) + 1
    assert all(each.sha256 is None and each.size == 7 for each in shown)


FORMS = ("webp", "jpeg", "avif")


def test_only_images_that_are_on_the_list_have_thumbnails() -> None:
    for content_type in ("image/svg+xml", "image/tiff", "application/pdf", "image/x-psd"):
        with pytest.raises(NotAnImage, match=content_type.replace("+", r"\+")):
            variant_of(stored_file(content_type=content_type), asked(w="9"), "")


def test_what_is_appended_to_a_signed_link_is_taken_off_again() -> None:
    signed = "disposition=inline&expires=1&signature=abc"
    assert without(signed + "&w=320&format=auto") == signed
    for more in ("&w=320&x=1", "&w=3%32", "&w=", "w=320", "&w=1&h=1&fit=cover&format=webp&w=2"):
        assert without(signed + more) != signed
    assert without("w=320&" + signed) == "w=320&" + signed


def stored_file(**changes: Any) -> StoredFile:
    values: dict[str, Any] = {
        "id": "a",
        "filename": "a.png",
        "content_type": "image/png",
        "size": 100,
        "etag": "tag",
        "sha256": "ab" * 32,
        "owner": None,
        "visibility": "public",
        "backend": "local",
        "key": "bc/" + "bcdefghijklmnopqrstuvwxyz2",
        "collection": "default",
        "created_at": datetime(2030, 1, 1, tzinfo=UTC),
        "cache_max_age": 60,
        "delivery": "proxy",
    }
    return StoredFile(**values | changes)


def test_variants_are_plain_values() -> None:
    variant = variant_of(stored_file(), asked(w="9", h="70", fit="cover"), "")
    assert variant == Variant(64, 160, "cover", "webp", variant.name, variant.key)
