"""English words that no lexicon has, read letter by letter: a small network, computed by NumPy.

`benchmarks/train_g2p.py` trains it and says how; `g2p_en.npz` holds its weights. Symbols: L letters
of a word, E embedding, H states of a direction, V symbols (blank and phones with stress).
"""

import functools
import zlib
from pathlib import Path

import numpy as np

from espnet_ext.text.phones import CONSONANTS, VOWELS

WEIGHTS = Path(__file__).with_name("g2p_en.npz")
LETTERS = "abcdefghijklmnopqrstuvwxyz'-."
FRAMES = 2  # distributions a letter: x is K S
SYMBOLS = ("", *sorted([*CONSONANTS, *(vowel + stress for vowel in VOWELS for stress in "012")]))


def held_out(word: str) -> bool:
    """Whether a word was kept from training, to measure the network on: every twentieth.

    >>> sum(map(held_out, map(str, range(2000)))) / 2000 < 0.07
    True
    """
    return zlib.crc32(word.encode()) % 20 == 0


class Reader:
    """The network: `read` gives the phones of a word of LETTERS, with stress."""

    def __init__(self, weights: str | Path = WEIGHTS):
        with np.load(weights, allow_pickle=False) as file:
            held = {name: file[name].astype(np.float32) for name in file.files}
        self.embedding = held["embed_weight"]  # (1 + letters, E)
        self.output, self.bias = held["out_weight"], held["out_bias"]
        self.layers = []
        while f"gru_weight_ih_l{len(self.layers)}" in held:
            number = len(self.layers)
            self.layers.append(
                tuple(
                    tuple(
                        held[f"gru_{kind}_l{number}{way}"]
                        for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
                    )
                    for way in ("", "_reverse")
                )
            )

    def states(self, word: str) -> np.ndarray:
        """What the recurrent layers make of a word: (L, 2H)."""
        states = self.embedding[[LETTERS.index(letter) + 1 for letter in word]]  # (L, E)
        for forward, backward in self.layers:
            states = np.concatenate(
                (_gru(states, *forward), _gru(states[::-1], *backward)[::-1]), axis=1
            )
        return states

    def read(self, word: str) -> list[str]:
        """The most probable symbol of every frame, repetitions and blanks taken out (CTC)."""
        scores = (self.states(word) @ self.output.T + self.bias).reshape(-1, len(SYMBOLS))
        best = scores.argmax(axis=1)  # (FRAMES · L,)
        kept = best[np.flatnonzero(np.diff(best, prepend=-1))]
        return [SYMBOLS[number] for number in kept if number]


def _gru(inputs, weight_ih, weight_hh, bias_ih, bias_hh):
    """A gated recurrent unit over (L, E), in PyTorch's order of gates: (L, H)."""
    size = weight_hh.shape[1]
    given = inputs @ weight_ih.T + bias_ih  # (L, 3H)
    state, states = np.zeros(size, np.float32), np.empty((len(inputs), size), np.float32)
    for step, row in enumerate(given):
        own = weight_hh @ state + bias_hh
        gates = 1 / (1 + np.exp(-(row[: 2 * size] + own[: 2 * size])))
        fresh = np.tanh(row[2 * size :] + gates[:size] * own[2 * size :])
        state = fresh + gates[size:] * (state - fresh)
        states[step] = state
    return states


@functools.cache
def reader() -> Reader:
    """The package's network, loaded once."""
    return Reader()
