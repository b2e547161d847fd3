"""What the header of a source says. Belongs here: telling images from videos, and every fact known without reading on.

Of a video the first frame alone is decoded, as libav tells only with it how the picture is to be turned. What only
decoding the whole can prove (damage, real frame times) is in `vid_assets.curation.statistics`.
"""

from __future__ import annotations

import contextlib
import math
import mimetypes
import os
import re
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TYPE_CHECKING, Any, cast

from vid_assets.footage.clock import has_times, is_raw, raw_rate
from vid_assets.footage.geometry import orientation, square_size
from vid_assets.footage.isolation import UnfinishedError, isolated
from vid_assets.footage.reader import open_container
from vid_assets.footage.settings import Decoding
from vid_assets.footage.stills import heif_is_installed, is_heif, still_header

if TYPE_CHECKING:
    import av
    from av.container import InputContainer

#: libav formats that are no footage: playlists that name other files, and text that libav can render as a picture.
_NOT_FOOTAGE = {"hls", "concat", "dash", "sdp", "rtsp", "tty", "lrc", "srt", "ass", "webvtt", "imf"}

#: What no header says in earnest: so many frames a second, and pixels of such a shape.
_FASTEST, _NEEDLE = 1e4, 50.0
#: The first frame is looked for in so many packets of all streams; damage may hide it for longer.
_PACKETS_TO_FIRST_FRAME = 500
#: Two pictures of a motion JPEG are looked for in so many bytes.
_TWO_JPEGS_BYTES = 16 << 20
_WEBP_IS_ANIMATED = 0x02
_COLOR_RANGE = {1: "limited", 2: "full"}
_UNSPECIFIED_TRANSFER = 2
_HDR_TRANSFERS = {"smpte2084", "arib-std-b67"}

#: Bumped by hand when the same file gives another row of `videos`.
PROBE_VERSION = "3"


#: Why a HEIC still was not read; it is tried again once the extra is there.
HEIC_NEEDS_EXTRA = (
    "a HEIC still; to read it, install the extra `heic`: uv pip install -e '.[heic]' in the folder of vid_assets"
)


@dataclass(frozen=True)
class Probe:
    """The header of one source. When `status` is `failed`, `error` says why and all other facts are None, but `kind`:
    `other` of what is no medium, neither by its content nor by its name.

    - width, height: pixels as displayed, that is upright and with square pixels (see `geometry`).
    - rotation: clockwise degrees that show the picture upright: 0, 90, 180 or 270; is_mirrored: then mirrored.
    - sample_aspect: width of a pixel over its height. bit_depth: bits of a sample.
    - color_range: limited or full. color_transfer: name of the transfer curve as in ffmpeg (bt709, smpte2084, ...).
    - is_hdr: the curve is PQ or HLG. is_interlaced: frames are woven of two fields. is_vfr: frames are not evenly
      spaced. duration_s: seconds that the header claims. fps: the average that it claims.
    - hit_limit, limit_value: which of `config.Decoding` stopped the reading, and what it was then.

    None is what the header does not tell, or claims beyond reason; of that, `log` has a line.
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
    is_mirrored: bool | None = None
    sample_aspect: float | None = None
    bit_depth: int | None = None
    color_range: str | None = None
    color_transfer: str | None = None
    is_hdr: bool | None = None
    is_interlaced: bool | None = None
    fps: float | None = None
    is_vfr: bool | None = None
    duration_s: float | None = None
    claimed_frames: int | None = None
    hit_limit: str | None = None
    limit_value: float | None = None
    log: str | None = None


def probe(path: str, limits: Decoding | None = None) -> Probe:
    """Read the header of the file at `path`, and decode the first frame of a video.

    Bad content never raises: `status` is `failed` and `error` one line for people; so does a header that claims more
    than `limits` allow. An `OSError` of the file system (missing, no permission) does propagate, and a `MemoryError`.
    """
    path = os.fspath(path)
    with open(path, "rb") as file:
        head = file.read(64)
    if not head:
        return failed("the file is empty (0 bytes)")
    if head.startswith(b"version https://git-lfs"):
        return failed("a Git LFS pointer, not the footage itself; run `git lfs pull` in its repository")
    if is_heif(head) and not heif_is_installed():
        return failed(HEIC_NEEDS_EXTRA)
    if head[8:16] == b"WEBPVP8X" and head[20] & _WEBP_IS_ANIMATED:
        return failed("an animated WebP, which libav does not read; convert it to a video or a GIF")
    limits = limits or Decoding()
    found = _within(_probe_still(path, limits) or _probe_video(path, limits), limits)
    return replace(found, kind="other") if _is_other(path, found) else found


#: How the reasons begin for which a file is no medium at all, if its name does not say that it is one.
_NO_MEDIUM = ("not a video or image that can be read", "no video stream in the file", "a text or playlist file")


def _is_other(path: str, found: Probe) -> bool:
    named = (mimetypes.guess_type(path)[0] or "").partition("/")[0]
    return found.status == "failed" and (found.error or "").startswith(_NO_MEDIUM) and named not in ("video", "image")


def probe_apart(path: str, limits: Decoding) -> Probe:
    """`probe` in a process of its own; a file that crashes it, or takes too much, fails with that reason."""
    try:
        answer = isolated(probe, os.fspath(path), limits, limits=limits)
    except UnfinishedError as stopped:
        limit, value = stopped.limit or (None, None)
        return failed(stopped.reason, limit, value, stopped.log)
    return replace(answer.value, log="\n".join(filter(None, (answer.value.log, answer.log))) or None)


def failed(error: str, hit_limit: str | None = None, limit_value: float | None = None, log: str | None = None) -> Probe:
    """The header of a file that cannot be used, and why."""
    return Probe(status="failed", error=error, hit_limit=hit_limit, limit_value=limit_value, log=log)


def _within(found: Probe, limits: Decoding) -> Probe:
    """`found`, or the reason why it is not read."""
    if found.width and found.height and found.width * found.height > limits.max_pixels:
        claim = f"pictures of {found.width}x{found.height} pixels, more than decoding.max_pixels = {limits.max_pixels}"
        return failed(f"the header claims {claim}", "max_pixels", limits.max_pixels)
    if found.duration_s and found.duration_s > limits.max_hours * 3600:
        claim = f"{found.duration_s / 3600:.4g} hours, more than decoding.max_hours = {limits.max_hours:g}"
        return failed(f"the header claims {claim}", "max_hours", limits.max_hours)
    return found


def _sane(found: Probe) -> Probe:
    """`found` without what cannot be: a time that is over before it begins, thousands of frames a second, needles."""
    claims = {
        "duration_s": (found.duration_s, 0.0, math.inf, "a duration of {:.4g} s"),
        "fps": (found.fps, 0.0, _FASTEST, "{:.6g} frames a second"),
        "claimed_frames": (found.claimed_frames, 0, math.inf, "{} frames"),
        "sample_aspect": (found.sample_aspect, 1 / _NEEDLE, _NEEDLE, "pixels {:.4g} times as wide as high"),
    }
    odd = {name: words.format(value) for name, (value, low, high, words) in claims.items()
           if value is not None and not low < value < high}  # fmt: skip
    if not odd:
        return found
    absent: dict[str, Any] = dict.fromkeys(odd)
    return replace(found, **absent, log=f"the header claims {', '.join(odd.values())}: not believed")


def _probe_still(path: str, limits: Decoding) -> Probe | None:
    header = still_header(path, limits.max_pixels)
    if header is None or (header.format == "jpeg" and _is_motion_jpeg(path, limits)):
        return None
    return Probe(
        status="ok",
        kind="image",
        container=header.format,
        codec=header.format,
        pix_fmt=header.mode,
        stream_index=0,
        width=header.width,
        height=header.height,
        rotation=header.rotation,
        is_mirrored=header.mirrored,
        bit_depth=header.bit_depth,
        claimed_frames=1,
    )


def _is_motion_jpeg(path: str, limits: Decoding) -> bool:
    """Whether one JPEG follows straight upon another, as in a raw stream of them."""
    with open(path, "rb") as file:
        if b"\xff\xd9\xff\xd8\xff" not in file.read(_TWO_JPEGS_BYTES):
            return False
    return _probe_video(path, limits).container == "mjpeg"


def _probe_video(path: str, limits: Decoding) -> Probe:
    """The header of a video, read by libav."""
    import av

    try:
        with open_container(path) as container:
            container_format = container.format.name
            if container_format in _NOT_FOOTAGE:
                return failed(f"a text or playlist file ({container_format}), not footage")
            if container_format.endswith("_pipe") or container_format == "image2":
                return failed("an image that cannot be read: damaged, or of a format that is not supported")
            stream = cast("av.VideoStream | None", container.streams.best("video"))
            if stream is None:
                streams = {item.type for item in container.streams}
                what = f"only {' and '.join(sorted(streams))}" if streams else "no stream at all"
                return failed(f"no video stream in the file ({what})")
            coded = cast("av.VideoCodecContext | None", stream.codec_context)
            if coded is None:
                return failed("no decoder for the codec of the video stream")
            if not coded.width or not coded.height:
                return failed("the header gives no picture size: damaged, or cut off before the first frame")
            found = _within(_sane(_with_timing(_stream_header(container, stream), container, stream)), limits)
            if found.status == "failed":
                return found
            frame, perhaps_later = _first_frame(container, stream)
            if frame is None and not perhaps_later:
                return failed("the video stream holds no frame that can be decoded")
            return _as_shown(found, frame)
    except MemoryError:
        raise
    except av.FFmpegError as error:
        return failed(f"not a video or image that can be read: {error.strerror or error}")
    except UnicodeDecodeError:
        return failed("not a video or image that can be read: metadata is damaged")


def _stream_header(container: InputContainer, stream: av.VideoStream) -> Probe:
    """What the header of a stream says of its pictures, as they are stored."""
    coded = stream.codec_context
    transfer = _transfer(coded.color_trc)
    aspect = stream.sample_aspect_ratio
    field_order = coded.field_order
    return Probe(
        status="ok",
        kind="video",
        container=container.format.name,
        codec=coded.codec.canonical_name,
        pix_fmt=coded.pix_fmt,
        stream_index=stream.index,
        width=coded.width,
        height=coded.height,
        sample_aspect=float(aspect) if aspect else None,
        bit_depth=coded.format.components[0].bits if coded.format and coded.format.components else None,
        color_range="full" if (coded.pix_fmt or "").startswith("yuvj") else _COLOR_RANGE.get(coded.color_range),
        color_transfer=transfer,
        is_hdr=None if transfer is None else transfer in _HDR_TRANSFERS,
        is_interlaced=field_order > 1 if field_order else None,
    )


def _with_timing(found: Probe, container: InputContainer, stream: av.VideoStream) -> Probe:
    if is_raw(container):
        # Neither times nor a length are in the file; libav would guess the length from the bit rate
        return replace(found, fps=float(raw_rate(stream)))
    average = stream.average_rate
    exact = "mp4" in container.format.name.split(",")
    return replace(
        found,
        fps=float(average) if average else None,
        is_vfr=_is_vfr(average, stream.base_rate, exact) if has_times(container, stream) else None,
        duration_s=_duration(container, stream),
        claimed_frames=stream.frames or None,
    )


def _as_shown(found: Probe, frame: av.VideoFrame | None) -> Probe:
    """`found` with the geometry that the first frame asks for; where none decodes, the picture as it is stored."""
    rotation, mirrored = orientation(frame) if frame is not None else (0, False)
    width, height = square_size(found.width or 0, found.height or 0, found.sample_aspect)
    if rotation % 180:
        width, height = height, width
    interlaced = found.is_interlaced or (True if frame is not None and frame.interlaced_frame else found.is_interlaced)
    return replace(found, rotation=rotation, is_mirrored=mirrored, width=width, height=height, is_interlaced=interlaced)


def _first_frame(container: InputContainer, stream: av.VideoStream) -> tuple[av.VideoFrame | None, bool]:
    """The first frame, None where the first packets give none; and whether there may be one further on."""
    import av

    with contextlib.suppress(IndexError, av.error.EOFError):  # see `reader.demux`
        for number, packet in enumerate(container.demux()):
            if packet.stream.index == stream.index:
                with contextlib.suppress(av.error.InvalidDataError):
                    for frame in packet.decode():
                        return cast("av.VideoFrame", frame), True
            if number > _PACKETS_TO_FIRST_FRAME:
                return None, True
    return None, False


def _transfer(number: int) -> str | None:
    from av.video.reformatter import ColorTrc

    if number == _UNSPECIFIED_TRANSFER or number not in {item.value for item in ColorTrc}:
        return None
    return ColorTrc(number).name.lower().replace("_", "-")


def _duration(container: InputContainer, stream: av.VideoStream) -> float | None:
    """Seconds of the stream by the header; of the container where the stream does not say."""
    if stream.duration and stream.time_base:
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
