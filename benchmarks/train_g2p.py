"""Train the neural English G2P of `espnet_ext.text.neural_g2p` and evaluate it on held-out words.

    python benchmarks/train_g2p.py --output espnet_ext/text/g2p_en.npz

The data is the CMU Pronouncing Dictionary (first pronunciations, with stress digits). About every
twentieth word, chosen by a hash of its spelling, is held out: it is used neither for training nor
for any choice. A bidirectional GRU (Cho et al., arXiv 1406.1078) reads the letters. Each letter
gives `FRAMES_PER_LETTER` distributions over phones and blank. The loss is CTC (Graves et al.,
2006), so no alignment of letters and phones is needed.

Symbols: B batch, L letters, F FRAMES_PER_LETTER, V output symbols.
"""

import argparse
import json
import math
import time

import numpy as np
import torch
from torch import nn

from espnet_ext.text import cmudict
from espnet_ext.text.neural_g2p import FRAMES_PER_LETTER, LETTERS, SYMBOLS, NeuralG2P, is_held_out

LETTER_IDS = {letter: number for number, letter in enumerate(LETTERS, 1)}
SYMBOL_IDS = {symbol: number for number, symbol in enumerate(SYMBOLS)}
Pair = tuple[str, list[str]]  # a word and its phones


class Network(nn.Module):
    def __init__(self, size: int, layers: int, embedding: int = 48):
        super().__init__()
        self.embed = nn.Embedding(len(LETTERS) + 1, embedding, padding_idx=0)
        self.gru = nn.GRU(
            embedding, size, layers, batch_first=True, bidirectional=True, dropout=0.15
        )
        self.out = nn.Linear(2 * size, FRAMES_PER_LETTER * len(SYMBOLS))

    def forward(self, letters: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Map letter ids (B, L) to log-probabilities (B, F·L, V)."""
        packed = nn.utils.rnn.pack_padded_sequence(
            self.embed(letters), lengths, batch_first=True, enforce_sorted=False
        )
        states, _ = nn.utils.rnn.pad_packed_sequence(self.gru(packed)[0], batch_first=True)
        logits = self.out(nn.functional.dropout(states, 0.15, self.training))  # (B, L, F·V)
        return logits.view(len(letters), -1, len(SYMBOLS)).log_softmax(-1)


def read_data() -> tuple[list[Pair], list[Pair]]:
    """Return (training set, held-out set): words with their first pronunciations."""
    train, test = [], []
    for word, variants in cmudict.lexicon().items():
        phones = variants[0].split()
        fits = len(phones) + 1 < FRAMES_PER_LETTER * len(word)
        if fits and all(letter in LETTER_IDS for letter in word):
            (test if is_held_out(word) else train).append((word, phones))
    return train, test


def make_batches(train: list[Pair], size: int, generator: np.random.Generator) -> list[list[Pair]]:
    """Return shuffled batches of words of similar length."""
    order = sorted(train, key=lambda pair: len(pair[0]) + generator.random())
    batches = [order[i : i + size] for i in range(0, len(order), size)]
    generator.shuffle(batches)
    return batches


def collate(batch: list[Pair]) -> tuple[torch.Tensor, ...]:
    """Return letters (B, L), their lengths (B,), concatenated phones, their lengths (B,)."""
    lengths = torch.tensor([len(word) for word, _ in batch])
    letters = torch.zeros(len(batch), int(lengths.max()), dtype=torch.long)
    for row, (word, _) in enumerate(batch):
        letters[row, : len(word)] = torch.tensor([LETTER_IDS[letter] for letter in word])
    targets = torch.tensor([SYMBOL_IDS[phone] for _, phones in batch for phone in phones])
    return letters, lengths, targets, torch.tensor([len(phones) for _, phones in batch])


def export(network: Network, path: str) -> None:
    """Write the weights as float16. `NeuralG2P` computes with float32."""
    weights = {
        name.replace(".", "_"): value.detach().numpy().astype(np.float16)
        for name, value in network.state_dict().items()
    }
    np.savez_compressed(path, **weights)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--output", required=True, help="file of weights to write")
    parser.add_argument("--epochs", type=int, default=16)
    parser.add_argument("--size", type=int, default=128, help="hidden units per direction")
    parser.add_argument("--layers", type=int, default=2, help="number of GRU layers")
    parser.add_argument("--batch", type=int, default=128, help="words per batch")
    parser.add_argument("--rate", type=float, default=3e-3, help="peak learning rate")
    options = parser.parse_args()
    torch.manual_seed(1)
    generator = np.random.default_rng(1)
    train, test = read_data()
    network = Network(options.size, options.layers)
    optimizer = torch.optim.AdamW(network.parameters(), lr=options.rate, weight_decay=0.01)
    steps = options.epochs * math.ceil(len(train) / options.batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, options.rate, total_steps=steps, pct_start=0.1
    )
    ctc = nn.CTCLoss(zero_infinity=True)
    print(f"{len(train)} training words, {len(test)} held-out words", flush=True)
    for epoch in range(1, options.epochs + 1):
        start, total_loss = time.monotonic(), 0.0
        network.train()
        for batch in make_batches(train, options.batch, generator):
            letters, lengths, targets, target_lengths = collate(batch)
            log_probs = network(letters, lengths).transpose(0, 1)  # (F·L, B, V)
            loss = ctc(log_probs, targets, FRAMES_PER_LETTER * lengths, target_lengths)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            total_loss += float(loss.detach()) * len(batch)
        seconds = time.monotonic() - start
        print(f"epoch {epoch}: loss {total_loss / len(train):.4f}, {seconds:.0f} s", flush=True)
        export(network, options.output)
    print(json.dumps(evaluate(NeuralG2P(options.output), test)))


def evaluate(model: NeuralG2P, test: list[Pair]) -> dict[str, float]:
    """Return phone and word error rates in %, with and without stress digits."""
    from rapidfuzz.distance import Levenshtein

    from espnet_ext.text.phones import strip_stress

    rates: dict[str, float] = {}
    predictions = [model.predict(word) for word, _ in test]
    for name, convert in (("with stress", str), ("without stress", strip_stress)):
        pairs = [
            (list(map(convert, prediction)), list(map(convert, reference)))
            for prediction, (_, reference) in zip(predictions, test, strict=True)
        ]
        errors = sum(Levenshtein.distance(*pair) for pair in pairs)
        phones = sum(len(reference) for _, reference in pairs)
        wrong_words = sum(prediction != reference for prediction, reference in pairs)
        rates[f"PER {name}"] = 100 * errors / phones
        rates[f"words wrong {name}"] = 100 * wrong_words / len(pairs)
    return rates


if __name__ == "__main__":
    main()
