"""Which video is meant by what somebody wrote: a uri or path, the end of one, or the beginning of a video_id."""

from __future__ import annotations

import os
from collections.abc import Iterable

from vid_assets.digests import SHOWN
from vid_assets.project import Project
from vid_assets.section import ConfigError
from vid_assets.store.tables import Row


def fits(uri: str, name: str) -> bool:
    """Whether a uri is, or ends with, a path."""
    return uri == name or uri.endswith("/" + name.lstrip("/"))


def videos_named(project: Project, name: str) -> list[str]:
    """The videos of the sources whose path is, or ends with, `name`."""
    rows = project.store.read("sources", "state != 'replaced'", ["uri", "video_id"])
    return list(dict.fromkeys(row["video_id"] for row in rows if row["video_id"] and fits(row["uri"], name)))


def video_named(project: Project, what: str) -> str:
    """The video_id of the one video that `what` means. Raises `ConfigError` where it means none, or several."""
    rows = project.store.read("sources", "video_id IS NOT NULL", ["uri", "video_id", "state"])
    found = {row["video_id"] for row in rows if row["uri"] in (what, os.path.abspath(what))}
    found = found or {row["video_id"] for row in rows if row["state"] != "replaced" and fits(row["uri"], what)}
    if not found and len(what) >= 6:
        removed = project.store.read("removals", columns=["video_id"])
        known = {row["video_id"] for row in (*rows, *removed)}
        found = {video_id for video_id in known if video_id.startswith(what)}
    if not found:
        raise ConfigError(f"{what}: no file that was ever read is called so, and no video_id begins so (give 6 digits)")
    if len(found) > 1:
        listed = [f"{row['video_id'][:SHOWN]} {row['uri']}" for row in rows if row["video_id"] in found]
        raise ConfigError(f"{what} means {len(found)} videos; name one of them: {'; '.join(sorted(listed)[:10])}")
    return found.pop()


def removal_named(removals: Iterable[Row], what: str) -> Row:
    """The one row of `removals` that `what` means. Raises `ConfigError`."""
    known, here = list(removals), os.path.abspath(what)
    found = [row for row in known if what in row["uris"] or here in row["uris"]]
    found = found or [
        row for row in known if row["video_id"].startswith(what) or any(fits(uri, what) for uri in row["uris"])
    ]
    if len(found) != 1:
        raise ConfigError(f"{what} means {len(found)} removed videos, it must mean one; `vid-assets remove --list`")
    return found[0]
