"""The kinds of states that condition a sample beside its latent: one table, for store, loader and models."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Kind:
    """A kind of states, each of which has a row in the table `embeddings`, found by its key.

    Attributes:
        name: in the column `kind` of that table.
        column: of `training_set_members`, with the key of the member's states.
        words: what it is called in messages.
        of_caption: whether the states are of the sample's caption, and are left out where that is.
        tokens: states of one sample, at most, that a memory plan counts on where nothing else tells it.
    """

    name: str
    column: str
    words: str
    of_caption: bool = False
    tokens: int = 1


#: Every kind by its name, in the order of the columns.
KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind("text", "embedding_key", "text states", of_caption=True),
        Kind("pooled", "pooled_key", "pooled text states", of_caption=True),
        Kind("image", "image_key", "image states"),
    )
}
