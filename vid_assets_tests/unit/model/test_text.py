"""The text encoder backend on the tiny encoder."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest

from model.text import TEXT_CODE_VERSION, encode_texts, load_text_encoder
from model.tiny import save_tiny_text_encoder
from model.weights import text_encoder_hash

TEXTS = ["a cat", "", "a dog", "waves on a beach, in the evening"]

# A change of the algorithm moves these numbers and must bump TEXT_CODE_VERSION, which then needs numbers of its own.
GOLDEN = {"1": [0.790825, -0.644868, 1.987394, 0.370052]}


def test_states_are_unpadded_in_order_and_independent_of_batch_mates(text_folder: Path) -> None:
    encoder = load_text_encoder(text_folder)
    states = encode_texts(encoder, TEXTS, max_tokens=64)
    # ByT5 has a token for each byte, and one for the end
    assert [state.shape for state in states] == [(len(text.encode()) + 1, encoder.dim) for text in TEXTS]
    assert all(state.dtype == np.float32 for state in states)
    for text, state in zip(TEXTS, states):
        np.testing.assert_allclose(encode_texts(encoder, [text], 64)[0], state, atol=1e-5)
    assert not np.allclose(states[0], states[2])
    assert encode_texts(encoder, [], 64) == []
    np.testing.assert_allclose(states[0][2, :4], GOLDEN[TEXT_CODE_VERSION], atol=2e-3)


def test_a_long_text_is_cut_and_said(text_folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    encoder = load_text_encoder(text_folder)
    with caplog.at_level(logging.WARNING, logger="model.text"):
        states = encode_texts(encoder, ["short", "much longer than that"], max_tokens=8)
    assert [len(state) for state in states] == [6, 8]
    assert "1 of 2 texts" in caplog.text


def test_tiny_text_encoder_is_the_same_bytes_for_the_same_seed(text_folder: Path, tmp_path: Path) -> None:
    assert text_encoder_hash(save_tiny_text_encoder(tmp_path / "again", 0)) == text_encoder_hash(text_folder)
    assert text_encoder_hash(save_tiny_text_encoder(tmp_path / "other", 1)) != text_encoder_hash(text_folder)
