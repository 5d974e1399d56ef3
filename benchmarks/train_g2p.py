"""Train the English letter-to-phone model that the package holds, and measure it on held-out words.

    python benchmarks/train_g2p.py --output espnet_ext/text/g2p_en.npz

The data is the CMU Pronouncing Dictionary of the package (first pronunciations, stress included).
Every twentieth word by a hash of its spelling is held out: it is neither trained on nor used to
choose anything. A bidirectional GRU (Cho et al., arXiv 1406.1078) reads the letters; each letter
gives `FRAMES` distributions over phones and blank, trained by CTC (Graves et al., 2006), so that
no alignment of letters and phones is needed.
"""

import argparse
import json
import math
import time

import numpy as np
import torch
from torch import nn

from espnet_ext.text import cmudict
from espnet_ext.text.letters import FRAMES, LETTERS, SYMBOLS, Reader, held_out

LETTER = {letter: number for number, letter in enumerate(LETTERS, 1)}
SYMBOL = {symbol: number for number, symbol in enumerate(SYMBOLS)}


class Network(nn.Module):
    def __init__(self, size: int, layers: int, embedding: int = 48):
        super().__init__()
        self.embed = nn.Embedding(len(LETTERS) + 1, embedding, padding_idx=0)
        self.gru = nn.GRU(
            embedding, size, layers, batch_first=True, bidirectional=True, dropout=0.15
        )
        self.out = nn.Linear(2 * size, FRAMES * len(SYMBOLS))

    def forward(self, letters: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Letters (B, L) to log-probabilities (B, FRAMES·L, V)."""
        packed = nn.utils.rnn.pack_padded_sequence(
            self.embed(letters), lengths, batch_first=True, enforce_sorted=False
        )
        states, _ = nn.utils.rnn.pad_packed_sequence(self.gru(packed)[0], batch_first=True)
        scores = self.out(nn.functional.dropout(states, 0.15, self.training))
        return scores.view(len(letters), -1, len(SYMBOLS)).log_softmax(-1)


def pairs() -> tuple[list[tuple[str, list[str]]], list[tuple[str, list[str]]]]:
    """(trained, held out): words with their first pronunciations."""
    train, test = [], []
    for word, variants in cmudict.lexicon().items():
        phones = variants[0].split()
        if all(letter in LETTER for letter in word) and len(phones) + 1 < FRAMES * len(word):
            (test if held_out(word) else train).append((word, phones))
    return train, test


def batches(train: list, size: int, generator: np.random.Generator) -> list[list]:
    order = sorted(train, key=lambda pair: len(pair[0]) + generator.random())
    cut = [order[i : i + size] for i in range(0, len(order), size)]
    generator.shuffle(cut)
    return cut


def tensors(batch: list) -> tuple[torch.Tensor, ...]:
    lengths = torch.tensor([len(word) for word, _ in batch])
    letters = torch.zeros(len(batch), int(lengths.max()), dtype=torch.long)
    for row, (word, _) in enumerate(batch):
        letters[row, : len(word)] = torch.tensor([LETTER[letter] for letter in word])
    targets = torch.tensor([SYMBOL[phone] for _, phones in batch for phone in phones])
    return letters, lengths, targets, torch.tensor([len(phones) for _, phones in batch])


def export(network: Network, path: str) -> None:
    """Write the weights as float16; a reader computes with float32."""
    weights = {
        name.replace(".", "_"): value.detach().numpy().astype(np.float16)
        for name, value in network.state_dict().items()
    }
    np.savez_compressed(path, **weights)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--output", required=True, help="file of weights to write")
    parser.add_argument("--epochs", type=int, default=16)
    parser.add_argument("--size", type=int, default=128, help="of a direction's state")
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rate", type=float, default=3e-3, help="highest learning rate")
    options = parser.parse_args()
    torch.manual_seed(1)
    generator = np.random.default_rng(1)
    train, test = pairs()
    network = Network(options.size, options.layers)
    optimizer = torch.optim.AdamW(network.parameters(), lr=options.rate, weight_decay=0.01)
    steps = options.epochs * math.ceil(len(train) / options.batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, options.rate, total_steps=steps, pct_start=0.1
    )
    ctc = nn.CTCLoss(zero_infinity=True)
    print(f"{len(train)} words to train on, {len(test)} held out", flush=True)
    for epoch in range(1, options.epochs + 1):
        began, total = time.monotonic(), 0.0
        network.train()
        for batch in batches(train, options.batch, generator):
            letters, lengths, targets, sizes = tensors(batch)
            scores = network(letters, lengths).transpose(0, 1)
            loss = ctc(scores, targets, FRAMES * lengths, sizes)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            total += float(loss.detach()) * len(batch)
        print(
            f"epoch {epoch}: loss {total / len(train):.4f}, {time.monotonic() - began:.0f} s",
            flush=True,
        )
        export(network, options.output)
    print(json.dumps(measure(Reader(options.output), test)))


def measure(reader: Reader, test: list[tuple[str, list[str]]]) -> dict[str, float]:
    """Phone and word error rates in %, with stress digits and without."""
    from rapidfuzz.distance import Levenshtein

    from espnet_ext.text.phones import strip_stress

    found: dict[str, float] = {}
    said = [reader.read(word) for word, _ in test]
    for name, plain in (("with stress", str), ("without stress", strip_stress)):
        rows = [
            ([plain(p) for p in one], [plain(p) for p in phones])
            for one, (_, phones) in zip(said, test, strict=True)
        ]
        wrong = sum(Levenshtein.distance(one, phones) for one, phones in rows)
        found[f"PER {name}"] = 100 * wrong / sum(len(phones) for _, phones in rows)
        found[f"words wrong {name}"] = 100 * sum(a != b for a, b in rows) / len(rows)
    return found


if __name__ == "__main__":
    main()
