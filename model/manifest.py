"""The training manifest: what a run is told, checked before anything heavy is imported, and what makes it the same run.

A manifest is one JSON object. `runtime` and `output` change nothing that is learned, beyond the rounding of another
order of additions; nor do the places where things lie (uris, paths). All else is the identity of the run. Every key is
required, but those of the objective: defaults belong to whoever writes manifests, so that a manifest says all that was
decided.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, Self, TypeVar

from pydantic import ConfigDict, ValidationError, model_validator

from model.errors import ModelError
from model.recipe import Count, Denoiser, Evaluation, Parent, Recipe, Runtime, Settings, Text, eight_bit_is_cut
from model.vaes.space import Normalisation

#: Bump by hand when the same manifest trains other weights (objective, order, optimiser, initialisation, ...).
TRAIN_CODE_VERSION = "3"

FORMAT = 2

_PLACES = {"latents_uri", "members_uri", "embeddings_uri", "path", "folder"}


class ManifestError(ModelError):
    """A manifest lacks a key, has one that is not known, or a value is not allowed; the message lists every one."""


class TrainingSetSpec(Settings):
    """A pinned training set: its digest, and the tables that hold it, each at a version."""

    digest: Text
    latents_uri: Text
    latents_version: int
    members_uri: Text
    members_version: int
    embeddings_uri: Text | None
    embeddings_version: int | None


class VaeSpec(Settings):
    """The VAE that the latents were made with."""

    family: Text
    path: Text
    weights_hash: Text
    normalisation: Normalisation


class _Whole(Settings):
    """A manifest."""

    #: Keys that may be left out, and then have their default.
    may_lack: ClassVar[frozenset[str]] = frozenset()


class Manifest(_Whole):
    """All that a training run is told."""

    format: Literal[2]
    experiment: Text
    stage: Text
    training_set: TrainingSetSpec
    vae: VaeSpec
    recipe: Recipe
    runtime: Runtime
    parent: Parent | None
    output: Text
    code_version: Text

    @model_validator(mode="after")
    def _together(self) -> Self:
        if cut := eight_bit_is_cut(self.recipe.optimizer, self.runtime, "runtime"):
            raise ValueError(f"recipe.optimizer.name: {cut}")
        # A parent holds whole weights, also where adapters were trained: those that these were added to may be named
        if self.recipe.weights and self.parent and not self.recipe.lora:
            raise ValueError("recipe.weights and parent both name weights to start from; one of them is null")
        return self

    def document(self) -> dict[str, Any]:
        """As JSON, with the keys that it was read with."""
        return self.model_dump(mode="json", exclude_unset=True)


class _Compared(Settings):
    name: Text
    folder: Text


class _Device(Settings):
    model_config = ConfigDict(extra="ignore")

    device: Text = "cpu"
    threads: Count | None = None


class EvaluationManifest(_Whole):
    """What an evaluation is told. Keys that it does not know are passed over: a training manifest has more."""

    model_config = ConfigDict(extra="ignore")
    may_lack = frozenset(
        {
            *("recipe.precision", "runtime", "runtime.device", "runtime.threads", "compare"),
            *("evaluation.decode_dtype", "evaluation.decode_tiling"),
        }
    )

    training_set: TrainingSetSpec
    vae: VaeSpec
    recipe: Denoiser
    runtime: _Device = _Device()
    checkpoint: Text
    compare: tuple[_Compared, ...] = ()
    evaluation: Evaluation
    output: Text


def read_manifest(path: str | Path) -> Manifest:
    """Read and check a training manifest."""
    try:
        document = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ManifestError(f"{path}: cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise ManifestError(f"{path}: not valid JSON: {error}") from None
    return check_train(document, str(path))


def check_train(document: Any, name: str = "manifest") -> Manifest:
    """The manifest in a JSON document; a `ManifestError` unless it can be trained from."""
    return _checked(Manifest, document, name)


def check_evaluate(document: Any, name: str = "evaluation manifest") -> EvaluationManifest:
    """The manifest in a JSON document; a `ManifestError` unless it can be evaluated from."""
    return _checked(EvaluationManifest, document, name)


def identity(document: Mapping[str, Any]) -> dict[str, Any]:
    """What decides the weights that come out: the manifest without runtime, output and places, and the code version."""
    kept = {key: value for key, value in document.items() if key not in ("runtime", "output")}
    return {**_without_places(kept), "train_code_version": TRAIN_CODE_VERSION}


def difference(now: Any, before: Any, path: str = "") -> list[str]:
    """Where two JSON values differ, a line each, such as `recipe.lr: 0.001 before, 0.002 now`."""
    if isinstance(now, dict) and isinstance(before, dict):
        lines = []
        for key in sorted(now.keys() | before.keys()):
            lines += difference(now.get(key), before.get(key), f"{path}.{key}" if path else key)
        return lines
    return [] if now == before else [f"{path}: {json.dumps(before)} before, {json.dumps(now)} now"]


def _without_places(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    return {key: _without_places(item) for key, item in value.items() if key not in _PLACES}


#: Errors of pydantic about a key that there is not: of a model, and of a dataclass.
_UNKNOWN = ("extra_forbidden", "unexpected_keyword_argument")

_Kind = TypeVar("_Kind", bound=_Whole)


def _checked(kind: type[_Kind], document: Any, name: str) -> _Kind:
    """`document` as a manifest of a kind. The error lists all that is wrong."""
    allowed = _Allowed(kind.model_json_schema())
    lines = [f"{key} is missing" for key in allowed.missing(document) if key not in kind.may_lack]
    try:
        manifest = kind.model_validate_json(json.dumps(document), strict=True)
    except ValidationError as error:
        places = [one["loc"] for one in error.errors()]
        # a list of which an item is wrong is not said to be too short as well
        lines += [allowed.line(one) for one in error.errors() if not any(_inside(at, one["loc"]) for at in places)]
    if lines:
        raise ManifestError(f"{name}: " + "; ".join(dict.fromkeys(lines)))
    return manifest


def _inside(place: tuple[Any, ...], other: tuple[Any, ...]) -> bool:
    return len(place) > len(other) and place[: len(other)] == other


class _Allowed:
    """What a JSON schema allows, in words."""

    def __init__(self, schema: dict[str, Any]) -> None:
        self._whole = schema

    def missing(self, value: Any, schema: Any = None, path: str = "") -> Iterator[str]:
        """The path of each key that an object lacks, at any depth."""
        schema = self._resolved(schema or self._whole)
        for key, part in schema.get("properties", {}).items() if isinstance(value, dict) else ():
            if key in value:
                yield from self.missing(value[key], part, f"{path}{key}.")
            else:
                yield f"{path}{key}"

    def line(self, error: Any) -> str:
        """What is wrong with one value, by an error of pydantic: its path, the value, and what it must be."""
        location, value, kind = list(error["loc"]), error["input"], error["type"]
        short = kind == "missing" and isinstance(location[-1], int)  # a list that lacks an item, which has no path
        path, schema = self._at(location[:-1] if short or kind in _UNKNOWN else location)
        if kind in _UNKNOWN:
            known = list(self._resolved(schema)["properties"])
            near = difflib.get_close_matches(str(location[-1]), known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"
            return f"{path + '.' if path else ''}{location[-1]} is not known; {hint}"
        if kind == "missing" and not short:
            return f"{path} is missing"
        if kind == "value_error":
            return f"{path}: {error['ctx']['error']}" if path else str(error["ctx"]["error"])
        return f"{path or 'the whole'} is {value!r}; it must be {self._words(schema)}"

    def _at(self, location: Sequence[str | int]) -> tuple[str, Any]:
        """The path that people write for a place, and its schema."""
        path, schema = "", self._whole
        for part in location:
            inside = self._resolved(schema)
            if "oneOf" in inside and part == "one":
                return path, inside
            if "oneOf" in inside:  # the next part is a key
                schema = inside["oneOf"][1]
            elif isinstance(part, int):
                path, schema = f"{path}[{part}]", inside.get("items") or inside["prefixItems"][part]
            else:
                path = f"{path}.{part}" if path else part
                schema = inside.get("properties", {}).get(part) or inside["additionalProperties"]
        return path, schema

    def _resolved(self, schema: Any) -> Any:
        """A schema without references, and without the null that it allows."""
        if "anyOf" in schema:
            schema = next(one for one in schema["anyOf"] if one.get("type") != "null")
        return self._whole["$defs"][schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema

    def _words(self, schema: Any) -> str:
        if options := schema.get("oneOf") or schema.get("anyOf"):
            return ", or ".join(self._words(one) for one in options)
        if "const" in schema or "enum" in schema:
            return " or ".join(map(str, schema.get("enum") or [schema["const"]]))
        kind = schema.get("type", "object")
        if kind == "array":
            items = schema.get("prefixItems", [])
            each = items[0] if items else schema["items"]
            size = f" of {len(items)}" if items else ", not empty" if schema.get("minItems") else ""
            return f"a list{size}, each {self._words(each)}"
        if kind in ("integer", "number"):
            return ("a whole number" if kind == "integer" else "a number") + _bounds(schema)
        each = schema.get("additionalProperties")
        if isinstance(each, dict):
            return f"an object of values, each {self._words(each)}"
        return {"null": "null", "string": "a text", "boolean": "true or false", "object": "an object"}[kind]


def _bounds(schema: Mapping[str, Any]) -> str:
    if "minimum" in schema and "maximum" in schema:
        return f" from {schema['minimum']:g} to {schema['maximum']:g}"
    words = ((" of at least", "minimum"), (" above", "exclusiveMinimum"), (" and below", "exclusiveMaximum"))
    return "".join(f"{text} {schema[key]:g}" for text, key in words if key in schema)
