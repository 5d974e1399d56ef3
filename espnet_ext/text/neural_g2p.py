"""Neural G2P for English words that are not in the dictionary, computed with NumPy.

A bidirectional GRU reads the letters (Cho et al., arXiv 1406.1078). Each letter gives
FRAMES_PER_LETTER distributions over phones and blank, which are decoded greedily as in CTC (Graves
et al., 2006). `benchmarks/train_g2p.py` trains the network. `g2p_en.npz` contains its weights.

Symbols: L letters of a word, E embedding size, H size of one direction's state, F
FRAMES_PER_LETTER, V number of output symbols (blank and phones with stress digits).
"""

import functools
import zlib
from pathlib import Path

import numpy as np

from espnet_ext.text.phones import CONSONANTS, VOWELS

WEIGHTS = Path(__file__).with_name("g2p_en.npz")
LETTERS = "abcdefghijklmnopqrstuvwxyz'-."
FRAMES_PER_LETTER = 2  # because a letter may have two phones: X is K S
SYMBOLS = ("", *sorted([*CONSONANTS, *(vowel + stress for vowel in VOWELS for stress in "012")]))


def is_held_out(word: str) -> bool:
    """Return whether a word is in the test set: about every twentieth word, by a hash.

    >>> sum(map(is_held_out, map(str, range(2000)))) / 2000 < 0.07
    True
    """
    return zlib.crc32(word.encode()) % 20 == 0


class NeuralG2P:
    """The network, with weights read from a file that `benchmarks/train_g2p.py` wrote."""

    def __init__(self, weights: str | Path = WEIGHTS):
        with np.load(weights, allow_pickle=False) as file:
            arrays = {name: file[name].astype(np.float32) for name in file.files}
        self.embedding = arrays["embed_weight"]  # (1 + len(LETTERS), E)
        self.output, self.bias = arrays["out_weight"], arrays["out_bias"]  # (F·V, 2H), (F·V,)
        # Per layer: forward and backward; per direction: weight_ih, weight_hh, bias_ih, bias_hh
        self.layers: list[tuple[tuple[np.ndarray, ...], ...]] = []
        while f"gru_weight_ih_l{len(self.layers)}" in arrays:
            layer = len(self.layers)
            self.layers.append(
                tuple(
                    tuple(
                        arrays[f"gru_{name}_l{layer}{suffix}"]
                        for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
                    )
                    for suffix in ("", "_reverse")
                )
            )

    def encode(self, word: str) -> np.ndarray:
        """Return the hidden states of the last GRU layer, (L, 2H)."""
        states = self.embedding[[LETTERS.index(letter) + 1 for letter in word]]  # (L, E)
        for forward, backward in self.layers:
            states = np.concatenate(
                (_gru(states, *forward), _gru(states[::-1], *backward)[::-1]), axis=1
            )
        return states

    def predict(self, word: str) -> list[str]:
        """Return the phones of a word of LETTERS, with stress digits, by greedy CTC decoding."""
        scores = (self.encode(word) @ self.output.T + self.bias).reshape(-1, len(SYMBOLS))
        best = scores.argmax(axis=1)  # (L·F,)
        without_repeats = best[np.flatnonzero(np.diff(best, prepend=-1))]
        return [SYMBOLS[symbol] for symbol in without_repeats if symbol]


def _gru(
    inputs: np.ndarray,
    weight_ih: np.ndarray,
    weight_hh: np.ndarray,
    bias_ih: np.ndarray,
    bias_hh: np.ndarray,
) -> np.ndarray:
    """Apply a GRU in one direction, with PyTorch's order of gates: (L, E) → (L, H)."""
    size = weight_hh.shape[1]
    projected_inputs = inputs @ weight_ih.T + bias_ih  # (L, 3H)
    state, states = np.zeros(size, np.float32), np.empty((len(inputs), size), np.float32)
    for step, projected_input in enumerate(projected_inputs):
        projected_state = weight_hh @ state + bias_hh
        gate_inputs = projected_input[: 2 * size] + projected_state[: 2 * size]
        gates = 1 / (1 + np.exp(-gate_inputs))  # reset, update
        candidate = np.tanh(
            projected_input[2 * size :] + gates[:size] * projected_state[2 * size :]
        )
        state = candidate + gates[size:] * (state - candidate)
        states[step] = state
    return states


@functools.cache
def default_model() -> NeuralG2P:
    """Return the network with the weights of this package. They are loaded once."""
    return NeuralG2P()
