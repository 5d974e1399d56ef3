"""Encoder output of an utterance is the same alone and in a batch."""

import torch

from espnet_ext.model.encoding import EncoderRequest
from espnet_ext.model.load import load_model
from espnet_ext.model.padding import mirror_ends


def test_states_do_not_depend_on_the_batch(trained):
    model, _ = load_model(trained.root / "exp")
    model = model.double()
    torch.manual_seed(0)
    cuts = [0, 1, 10, 50, 100, 159, 160, 161, 200, 255, 256, 257, 300, 7000, 15040]
    lengths = 16000 - torch.tensor(cuts)
    waves = [torch.randn(n, dtype=torch.double) * 0.1 for n in lengths.tolist()]
    together = torch.nn.utils.rnn.pad_sequence(waves, batch_first=True)
    with torch.no_grad():
        states, frames = model.encode(
            together, lengths, EncoderRequest(batch_invariant=True)
        ).shared()
        plain, _ = model.encode(together, lengths).shared()
        for row, wave in enumerate(waves):
            alone, count = model.encode(wave.unsqueeze(0), lengths[row : row + 1]).shared()
            assert int(count) == int(frames[row])
            inside_row = slice(0, int(count))
            torch.testing.assert_close(states[row, inside_row], alone[0], atol=1e-12, rtol=0)
    # ESPnet's inside_row features do depend on the batch:
    inside = torch.arange(states.size(1)) < frames.unsqueeze(1)
    assert (plain - states)[inside].abs().max() > 1e-6


def test_samples_are_unchanged_without_an_stft():
    speech = torch.randn(2, 50)
    assert mirror_ends(speech, torch.tensor([50, 20]), None) is speech
    assert mirror_ends(speech, torch.tensor([50, 20]), torch.nn.Identity()) is speech
