"""Reading the one configuration file, and errors that say what to do.

An unknown key, a wrong type or a value outside its range is a `ConfigError` naming the path of the key, what is
allowed, and the nearest valid name. Where the file and the home lie is told by the environment.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError

from vid_assets.config import Config
from vid_assets.config.experiments import Experiment
from vid_assets.section import ConfigError, ModelSource, nearest, unknown_key

PRESET_FOLDER = Path(__file__).parents[1] / "presets"


def home() -> str:
    """Where all data lies: `VID_ASSETS_HOME`, a folder or `s3://bucket/prefix`, by default `data`.

    Raises `ConfigError` for another kind of store, and where the extra `s3` is not installed.
    """
    value = os.environ.get("VID_ASSETS_HOME") or "data"
    if "://" in value:
        if not re.match(r"s3://[^/]+/.", value):
            raise ConfigError(f"VID_ASSETS_HOME is {value}: it must be a folder, or s3://bucket/prefix")
        if not find_spec("s3fs"):
            raise ConfigError(f"VID_ASSETS_HOME is {value}: install the extra s3, `pip install vid_assets[s3]`")
        return value.rstrip("/")
    return str(Path(value).expanduser().resolve())


def config_path() -> Path:
    """The configuration file: `VID_ASSETS_CONFIG`, by default the demo preset."""
    value = os.environ.get("VID_ASSETS_CONFIG")
    return Path(value).expanduser().resolve() if value else PRESET_FOLDER / "demo.yaml"


def load_config(path: str | Path | None = None) -> Config:
    """Read and validate the configuration file.

    `${VID_ASSETS_HOME}` and other environment variables in strings are expanded; a relative local path is taken
    from the folder of the file. Raises `ConfigError` when the file is missing, is not YAML, or breaks a rule.
    """
    import yaml

    path = Path(path) if path else config_path()
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file; set VID_ASSETS_CONFIG to your configuration file") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not valid YAML: {error}") from None
    if not isinstance(data, dict):
        raise ConfigError(f"{path}: the file must be a mapping of sections ({', '.join(Config.model_fields)})")
    return parse_config(data, base=path.parent, name=str(path))


def parse_config(data: dict[str, Any], base: Path | None = None, name: str = "config") -> Config:
    """Validate `data` as a `Config`; `base` is the folder that relative paths start from."""
    expanded = _expand(data, name)
    try:
        config = Config.model_validate(expanded)
    except ValidationError as error:
        lines = [_explain(item) for item in _own(error.errors())]
        raise ConfigError(f"{name}:\n" + "\n".join(f"  {line}" for line in lines)) from None
    return _absolute(config, base or Path.cwd())


def _expand(value: Any, where: str) -> Any:
    if isinstance(value, dict):
        return {key: _expand(item, f"{where}.{key}") for key, item in value.items()}
    if isinstance(value, list):
        return [_expand(item, f"{where}[{index}]") for index, item in enumerate(value)]
    if not isinstance(value, str):
        return value

    def variable(match: re.Match[str]) -> str:
        if match[1] == "VID_ASSETS_HOME":
            return home()
        if match[1] not in os.environ:
            raise ConfigError(f"{where}: the environment variable {match[1]} is not set")
        return os.environ[match[1]]

    return re.sub(r"\$\{(\w+)\}", variable, value)


_ENCODERS = ("text_encoder", "pooled_text_encoder", "image_encoder")


def _absolute(config: Config, base: Path) -> Config:
    """Make local paths absolute. A VAE or encoder that is no existing folder stays as it is: a hub id."""

    def folder(text: str) -> str:
        return text if "://" in text else str((base / Path(text).expanduser()).resolve())

    def weights(section: ModelSource) -> ModelSource:
        text = section.source
        local = text.startswith((".", "/", "~")) or (base / text).exists()
        return section.model_copy(update={"source": folder(text)}) if local else section

    def recipe(one: Experiment) -> Experiment:
        return one.model_copy(update={"weights": weights(one.weights)}) if one.weights else one

    return config.model_copy(
        update={
            "sources": tuple(source.model_copy(update={"uri": folder(source.uri)}) for source in config.sources),
            "vae": weights(config.vae),
            "experiments": {name: recipe(one) for name, one in config.experiments.items()},
            **{name: weights(section) for name in _ENCODERS if (section := getattr(config, name))},
        }
    )


def _own(errors: Sequence[Any]) -> list[Any]:
    """The errors without those that only follow from others: a list whose items are wrong is not too short as well."""

    def follows(error: Any) -> bool:
        place = error["loc"]
        return error["type"] == "too_short" and any(
            len(other["loc"]) > len(place) and other["loc"][: len(place)] == place for other in errors
        )

    return [error for error in errors if not follows(error)]


def _path(location: Sequence[Any]) -> str:
    """A location as people write it, e.g. `stages[0].buckets`."""
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location if part != "[key]")
    return path.removeprefix(".") or "(top level)"


#: How pydantic names the types of Python, and how the file names them.
_WORDS = (
    (re.compile(r"valid dictionary or instance of \w+|valid dictionary"), "mapping of keys to values"),
    (re.compile(r"valid tuple"), "list"),
    (re.compile(r"\w+ should have at least (\d+) items? after validation, not \d+"), r"at least \1 is needed"),
    (re.compile(r"String should match pattern '\^\[a-z\]\[a-z0-9_\]\{0,39\}\$'"),
     "a name has lower-case letters, digits and _, begins with a letter, and has at most 40 of them"),
)  # fmt: skip


def _explain(error: Any) -> str:
    """One validation error as: path of the key, what is wrong, what is allowed, the nearest valid name."""
    location = list(error["loc"])
    if error["type"] == "wrong_key":
        location.append(error["ctx"]["key"])
    path = _path(location)
    message = error["msg"].removeprefix("Value error, ")
    for pattern, words in _WORDS:
        message = pattern.sub(words, message)
    if error["type"] == "extra_forbidden":
        return f"{path}: {unknown_key(str(location[-1]), _fields_at(location[:-1]))}"
    if error["type"] == "literal_error":
        return f"{path}: {message}, got {error['input']!r}{nearest(str(error['input']), re.findall(_QUOTED, message))}"
    if error["type"] == "missing":
        return f"{path}: this key is required"
    if error["type"] in ("value_error", "wrong_key"):
        return message if not location else f"{path}: {message}"
    return f"{path}: {message}, got {error['input']!r}"


_QUOTED = re.compile(r"'([^']+)'")


def _fields_at(location: Sequence[Any]) -> list[str]:
    """Names of the keys that the section at `location` has, those that it must have first."""
    model: Any = Config
    annotation: Any = None
    for part in location:
        if isinstance(part, int) or get_origin(annotation) is dict:
            annotation = None  # a place in a list, or a name of the user's
        else:
            annotation = model.model_fields[part].annotation
            model = _section_type(annotation)
    return sorted(model.model_fields, key=lambda name: not model.model_fields[name].is_required())


def _section_type(annotation: Any) -> Any:
    """The section class inside an annotation such as `tuple[Stage, ...]` or `Lora | None`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next(filter(None, map(_section_type, get_args(annotation))), None)
