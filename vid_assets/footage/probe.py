"""What the header of a source says. Belongs here: telling images from videos, and every fact known without decoding.

What only decoding can prove (damage, real frame times) is in `vid_assets.curation.statistics`.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from fractions import Fraction
from typing import cast

from vid_assets.footage.reader import open_container
from vid_assets.footage.rotation import track_rotation
from vid_assets.footage.stills import STILL_FORMATS, quiet_pillow

#: libav formats that are no footage: playlists that name other files, and text that libav can render as a picture.
_NOT_FOOTAGE = {"hls", "concat", "dash", "sdp", "rtsp", "tty", "lrc", "srt", "ass", "webvtt", "imf"}

_EXIF_ORIENTATION = 0x0112
#: EXIF orientation -> clockwise degrees; 2, 4, 5 and 7 are mirrored as well, which `read_image` also undoes.
_EXIF_ROTATION = {1: 0, 2: 0, 3: 180, 4: 180, 5: 90, 6: 90, 7: 270, 8: 270}

#: Bumped by hand when the same file gives another row of `videos`.
PROBE_VERSION = "1"


@dataclass(frozen=True)
class Probe:
    """The header of one source. When `status` is `failed`, `error` says why and all other fields are None.

    `width` and `height` are in pixels as displayed, that is after `rotation` (clockwise degrees that show the
    picture upright: 0, 90, 180 or 270). `is_vfr` is None where the header does not tell.
    """

    status: str
    error: str | None = None
    kind: str | None = None
    container: str | None = None
    codec: str | None = None
    pix_fmt: str | None = None
    stream_index: int | None = None
    width: int | None = None
    height: int | None = None
    rotation: int | None = None
    fps: float | None = None
    is_vfr: bool | None = None
    duration_s: float | None = None
    claimed_frames: int | None = None


def probe(path: str) -> Probe:
    """Read the header of the file at `path`; decodes nothing of a video.

    Bad content never raises: `status` is `failed` and `error` one line for people. An `OSError` of the file
    system (missing, no permission) does propagate.
    """
    path = os.fspath(path)
    with open(path, "rb") as file:
        head = file.read(64)
    if not head:
        return _failed("the file is empty (0 bytes)")
    if head.startswith(b"version https://git-lfs"):
        return _failed("a Git LFS pointer, not the footage itself; run `git lfs pull` in its repository")
    return _probe_still(path) or _probe_video(path)


def _failed(error: str) -> Probe:
    return Probe(status="failed", error=error)


def _probe_still(path: str) -> Probe | None:
    """The header of a still; None where the file is no still that Pillow knows."""
    from PIL import Image, UnidentifiedImageError

    try:
        with quiet_pillow(), Image.open(path, formats=STILL_FORMATS) as image:
            if image.format in ("GIF", "PNG", "WEBP", "AVIF") and getattr(image, "is_animated", False):
                return None
            orientation = image.getexif().get(_EXIF_ORIENTATION, 1)
            rotation = _EXIF_ROTATION.get(orientation, 0)
            width, height = image.size if rotation % 180 == 0 else image.size[::-1]
            name = (image.format or "").lower()
            return Probe(
                status="ok",
                kind="image",
                container=name,
                codec=name,
                pix_fmt=image.mode,
                stream_index=0,
                width=width,
                height=height,
                rotation=rotation,
                claimed_frames=1,
            )
    except Image.DecompressionBombError:
        return _failed("the image is larger than Pillow's limit of 179 megapixels")
    except (UnidentifiedImageError, EOFError, SyntaxError, ValueError, OSError, OverflowError):
        return None


def _probe_video(path: str) -> Probe:
    """The header of a video, read by libav."""
    import av

    try:
        with open_container(path) as container:
            container_format = container.format.name
            if container_format in _NOT_FOOTAGE:
                return _failed(f"a text or playlist file ({container_format}), not footage")
            if container_format.endswith("_pipe") or container_format == "image2":
                return _failed("an image that cannot be read: damaged, or of a format that is not supported")
            stream = container.streams.best("video")
            if stream is None:
                streams = {item.type for item in container.streams}
                what = f"only {' and '.join(sorted(streams))}" if streams else "no stream at all"
                return _failed(f"no video stream in the file ({what})")
            coded = cast("av.VideoCodecContext | None", stream.codec_context)
            if coded is None:
                return _failed("no decoder for the codec of the video stream")
            if not coded.width or not coded.height:
                return _failed("the header gives no picture size: damaged, or cut off before the first frame")
            # libav reports MP4 and QuickTime track ids as stream ids
            rotation = track_rotation(path, stream.id) if "mp4" in container_format.split(",") else 0
            width, height = coded.width, coded.height
            if rotation % 180:
                width, height = height, width
            return Probe(
                status="ok",
                kind="video",
                container=container_format,
                codec=coded.codec.canonical_name,
                pix_fmt=coded.pix_fmt,
                stream_index=stream.index,
                width=width,
                height=height,
                rotation=rotation,
                fps=float(stream.average_rate) if stream.average_rate else None,
                is_vfr=_is_vfr(stream.average_rate, stream.base_rate, exact="mp4" in container_format.split(",")),
                duration_s=_duration(container, stream),
                claimed_frames=stream.frames or None,
            )
    except av.FFmpegError as error:
        return _failed(f"not a video or image that can be read: {error.strerror or error}")
    except UnicodeDecodeError:
        return _failed("not a video or image that can be read: metadata is damaged")


def _duration(container, stream) -> float | None:
    """Seconds of the stream by the header; of the container where the stream does not say."""
    if stream.duration:
        return float(stream.duration * stream.time_base)
    # Matroska has no field for it, but its writers leave a tag, such as 00:00:02.133000000
    tag = re.fullmatch(r"(\d+):(\d+):(\d+(?:\.\d+)?)", stream.metadata.get("DURATION", ""))
    if tag:
        return int(tag[1]) * 3600 + int(tag[2]) * 60 + float(tag[3])
    return container.duration / 1e6 if container.duration else None


def _is_vfr(average: Fraction | None, base: Fraction | None, exact: bool) -> bool | None:
    """Whether frames are unevenly spaced: the average rate is not the rate that holds all timestamps.

    Only containers with a table of all samples (`exact`) can say that a file is regular.
    """
    if not average or not base:
        return None
    if abs(average / base - 1) > Fraction(1, 1000):
        return True
    return False if exact else None
