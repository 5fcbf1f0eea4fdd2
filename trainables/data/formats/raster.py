"""One raster file: its header, and its pixels as viewers show them.

Files are known by their content, not by their name. Everything here is upright: EXIF and TIFF orientation is applied to
images and masks alike.
"""

import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import rasterio
from numpy.typing import NDArray
from PIL import Image
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.errors import NotGeoreferencedWarning, RasterioError

from trainables.common.errors import UserError
from trainables.data.formats import png_chunks
from trainables.data.formats.orientation import orientation, upright

Image.MAX_IMAGE_PIXELS = None  # satellite scenes are no decompression bombs

SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff")

_DRIVERS = ("PNG", "JPEG", "GTiff")
_STRAY_BYTES = re.compile(r"Corrupt JPEG data: (\d+) extraneous bytes before marker 0x(?!d[0-7])")
_MAX_STRAY_BYTES = 32
_MAX_TRANSLUCENT = 0.05
"""Share of a tile that may be neither opaque nor transparent, as soft edges are; another band has more such values."""


class Header(NamedTuple):
    """What a file's header says.

    Attributes:
        height: Rows, upright (px).
        width: Columns, upright (px).
        bands: As people see it: a palette is three bands, and opacity (alpha) is none.
        dtype: Of these bands.
        stored: Bands as stored: a palette is one, and opacity counts.
    """

    height: int
    width: int
    bands: int
    dtype: str
    stored: int

    def bands_named(self, num_named: int) -> int:
        """How many bands are taken where `num_named` are named (0: none): as stored where that fits, else as seen."""
        return self.stored if num_named == self.stored else self.bands


@dataclass(frozen=True, slots=True, kw_only=True)
class Raster:
    """One file's pixels, upright.

    Attributes:
        path: The file.
        stored: (bands, H, W) as stored, in the file's own type.
        palette: (n, 4) uint8 RGBA of the stored indices; None where the file has none.
        alpha: Which stored band is opacity, from 0; None where none is.
        has_data: (bands, H, W) bool by the file's nodata tag or mask; None where it has neither.
        num_bits: Of a stored value, without its sign.
        is_min_white: Whether 0 is white (TIFF's MinIsWhite).
        is_lossy: Whether the values were compressed by JPEG.
    """

    path: Path
    stored: NDArray[Any]
    palette: NDArray[np.uint8] | None
    alpha: int | None
    has_data: NDArray[np.bool_] | None
    num_bits: int
    is_min_white: bool
    is_lossy: bool

    def image(
        self, num_bands: int | None = None, places: Sequence[int] | None = None
    ) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
        """The pixels as an image, and where they are no data.

        Args:
            num_bands: How many bands are taken (see `Header.bands_named`); as people see it if None.
            places: Which of these, from 0; all if None.

        Returns:
            Pixels (H, W, bands), the tile's own mean where there is no data, and (H, W) bool, true where there is none;
            None for that where all is data.

        Raises:
            UserError: Pixels that are data are NaN or infinite, or the band of opacity looks like another one.
        """
        bands, opacity = self.stored, None
        lacks = None if self.has_data is None else ~self.has_data
        if self.palette is not None and num_bands != len(bands):
            bands = self.palette[np.minimum(self.stored[0], len(self.palette) - 1)].transpose(2, 0, 1)
            bands, opacity = bands[:3], bands[3]
        elif self.alpha is not None and num_bands != len(bands):
            bands, opacity = np.delete(bands, self.alpha, axis=0), bands[self.alpha]
            lacks = None if lacks is None else np.delete(lacks, self.alpha, axis=0)
        chosen = list(range(len(bands)) if places is None else places)
        missing = np.zeros(bands.shape[1:], bool)
        if opacity is not None:
            missing |= _transparent(opacity, self.path)
        if lacks is not None:
            # 0 is a common tag of 8-bit images, and a dark value of theirs, too
            missing |= lacks.all(axis=0) if bands.dtype == np.uint8 else lacks[chosen].any(axis=0)
        pixels = bands.transpose(1, 2, 0)  # as it is where nothing changes in it
        if missing.any() or not pixels.flags.c_contiguous or chosen != list(range(len(bands))):
            pixels = np.stack([bands[i] for i in chosen], axis=-1)  # a tenth of the time of a copied transpose
        if not missing.any():
            return _finite(pixels, self.path), None
        _finite(pixels[~missing], self.path)
        mean = np.zeros(len(chosen)) if missing.all() else pixels[~missing].mean(axis=0, dtype=np.float64)
        pixels[missing] = (np.rint(mean) if np.issubdtype(pixels.dtype, np.integer) else mean).astype(pixels.dtype)
        return pixels, missing


def read_header(path: Path) -> Header:
    """What the header of one image or mask says, without decoding a pixel.

    Raises:
        UserError: It has no readable header, or is of a kind that is not read: bands of several types, complex numbers,
            pages of several sizes, or another format than its name says.
    """
    try:
        with _open(path) as source:
            is_turned = orientation(path, source.driver) >= 5
            height, width = reversed(source.shape) if is_turned else source.shape
            has_palette, has_opacity = _has_palette(source), _alpha(source) is not None
            # Last: where a tag has no meaning, GDAL reads it as an error of whatever is asked for next
            stored = max(1, len(_pages(source, path))) * source.count
            if has_palette:
                return Header(height, width, 3, "uint8", stored)
            return Header(height, width, stored - has_opacity, source.dtypes[0], stored)
    except RasterioError as error:
        raise UserError(f"{path} cannot be read as an image: replace or remove it") from error


def read_image(path: Path, num_bands: int | None = None, *, as_stored: bool = False) -> NDArray[Any]:
    """The pixels of one image, (H, W, bands) in its own type; the image's own mean where it has no data.

    Args:
        path: The file.
        num_bands: How many bands are taken (see `Header.bands_named`); as people see it if None.
        as_stored: Take all bands as they are stored.

    Raises:
        UserError: It is missing, damaged or truncated, or holds what is no number.
    """
    if not path.is_file():
        raise UserError(f"{path} is no file, but must be an image ({', '.join(SUFFIXES)}): check the path")
    raster = read_pixels(path)
    return raster.image(len(raster.stored) if as_stored else num_bands)[0]


def read_pixels(path: Path) -> Raster:
    """Reads one file: `image()` of the result is for images, `stored` and `palette` are for masks.

    Raises:
        UserError: It is damaged or truncated.
    """
    try:
        try:
            with rasterio.Env(GDAL_ERROR_ON_LIBJPEG_WARNING="YES"):
                return _read(path)
        except RasterioError as error:
            stray = _STRAY_BYTES.search(str(error.__cause__))
            if stray is None or int(stray[1]) > _MAX_STRAY_BYTES:
                raise
        with Image.open(path) as image:
            image.load()  # raises where the picture ends too soon
        return _read(path)  # every viewer skips such bytes
    except (RasterioError, OSError, SyntaxError) as error:
        raise UserError(f"{path} is damaged or truncated: replace it") from error


def _read(path: Path) -> Raster:
    with _open(path) as source:
        if source.driver == "PNG" and not png_chunks.is_whole(path):
            raise OSError(f"{path} is not whole")
        turn = orientation(path, source.driver)
        pages = _pages(source, path)
        if pages:
            parts = []
            for name in pages:
                with rasterio.open(name) as page:
                    parts.append(_bands(page))
            stored = np.concatenate([pixels for pixels, _ in parts])
            masks = [np.ones(pixels.shape, bool) if has is None else has for pixels, has in parts]
            has_data = None if all(has is None for _, has in parts) else np.concatenate(masks)
        else:
            stored, has_data = _bands(source)
        palette = None
        if _has_palette(source):
            colors = source.colormap(1)
            palette = np.array([colors.get(index, (0, 0, 0, 255)) for index in range(max(colors) + 1)], np.uint8)
            if palette[:, 3].min() < 255:
                has_data = None  # GDAL makes a tag of the first transparent colour
        tags = source.tags(ns="IMAGE_STRUCTURE") | source.tags(1, ns="IMAGE_STRUCTURE")
        dtype = np.dtype(source.dtypes[0])
        return Raster(
            path=path,
            stored=upright(stored, turn),
            palette=palette,
            alpha=_alpha(source),
            has_data=None if has_data is None else upright(has_data, turn),
            num_bits=int(tags.get("NBITS", 8 * dtype.itemsize - (dtype.kind == "i"))),
            is_min_white=tags.get("MINISWHITE") == "YES",
            is_lossy=source.driver == "JPEG" or "JPEG" in tags.get("COMPRESSION", ""),
        )


def _bands(source: Any) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
    """(bands, H, W) pixels, and where they are data by a tag or mask of the file (opacity left out)."""
    flags = {flag for band in source.mask_flag_enums for flag in band}
    has_data = source.read_masks() != 0 if flags & {MaskFlags.nodata, MaskFlags.per_dataset} else None
    # In memory (H, W, bands), as images are taken: JPEGs are a quarter faster than band by band
    pixels = np.empty((source.height, source.width, source.count), source.dtypes[0]).transpose(2, 0, 1)
    return source.read(out=pixels), None if MaskFlags.alpha in flags else has_data


@contextmanager
def no_warnings() -> Iterator[None]:
    """Has nothing said of files without a georeference."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        yield


@contextmanager
def _open(path: Path) -> Iterator[Any]:
    """Opens a file, and refuses kinds that are not read."""
    with no_warnings(), rasterio.open(path) as source:
        types = sorted(set(source.dtypes))
        if source.driver not in _DRIVERS:
            raise UserError(f"{path} is a {source.driver} file, but must be PNG, JPEG or TIFF: convert it")
        if len(types) > 1:
            raise UserError(f"{path} mixes {', '.join(types)}: store one type per file")
        if "complex" in types[0]:
            raise UserError(
                f"{path} holds complex numbers ({types[0]}), but bands must be real: store the magnitude, or the "
                "real and the imaginary part as two bands"
            )
        yield source


def _pages(source: Any, path: Path) -> list[str]:
    """Names of the pages of a TIFF that holds a band per page; none where it has one page."""
    names = list(source.subdatasets) if source.driver == "GTiff" else []
    for name in names:
        with rasterio.open(name) as page:
            if (page.count, page.shape, page.dtypes) != (1, source.shape, source.dtypes):
                raise UserError(
                    f"{path} has {len(names)} pages that are no bands of one image (page {names.index(name) + 1} has "
                    f"{page.count} of {page.width}×{page.height} px, {page.dtypes[0]}): store all bands in one page"
                )
    return names


def _has_palette(source: Any) -> bool:
    return bool(source.count == 1 and source.colorinterp[0] == ColorInterp.palette)


def _alpha(source: Any) -> int | None:
    """Which band is opacity, from 0; None where none is, or nothing else."""
    if source.count == 1 or ColorInterp.alpha not in source.colorinterp:
        return None
    return int(source.colorinterp.index(ColorInterp.alpha))


def _transparent(opacity: NDArray[Any], path: Path) -> NDArray[np.bool_]:
    """Where a band of opacity (H, W) is 0; refused where its values are those of another band."""
    full = np.iinfo(opacity.dtype).max if np.issubdtype(opacity.dtype, np.integer) else 1
    between = float(np.mean((opacity != 0) & (opacity != full)))
    if between > _MAX_TRANSLUCENT:
        raise UserError(
            f"{path} calls its last band opacity (alpha), but {between:.0%} of it are neither 0 nor {full}, as in "
            'another band: name every stored band in dataset.json ("bands": ["red", "green", "blue", "nir"]) to train '
            "on it, or remove it"
        )
    return np.asarray(opacity == 0, np.bool_)


def _finite(pixels: NDArray[Any], path: Path) -> NDArray[Any]:
    """The pixels, refused where a float is NaN or infinite, in 32 bits too."""
    if np.issubdtype(pixels.dtype, np.floating):
        with np.errstate(over="ignore"):
            if not np.isfinite(pixels.astype(np.float32, copy=False)).all():
                raise UserError(
                    f"{path} holds NaN or infinite pixels, but every pixel must be a number: fill them, or name NaN as "
                    "the file's nodata value where it means no data (rio edit-info --nodata nan)"
                )
    return pixels
