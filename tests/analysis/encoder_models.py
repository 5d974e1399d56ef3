"""An ESPnet encoder as far as the analysis needs a model, and noise to run it on."""

import numpy as np
import torch

from espnet_ext.analysis.computation.hidden_states import capture
from espnet_ext.model.encoding import EncoderOutput


class Model(torch.nn.Module):
    """What the analysis needs of a model: `encode` and `encoder`; 8 samples make a frame."""

    def __init__(self, seed, blocks=3, input_layer="conv2d"):
        super().__init__()
        from espnet2.asr.encoder.conformer_encoder import ConformerEncoder

        torch.manual_seed(seed)
        self.encoder = ConformerEncoder(
            input_size=20,
            output_size=16,
            attention_heads=2,
            linear_units=24,
            num_blocks=blocks,
            input_layer=input_layer,
            rel_pos_type="latest",
            pos_enc_layer_type="rel_pos",
            selfattention_layer_type="rel_selfattn",
            cnn_module_kernel=7,
            dropout_rate=0.1,
        )
        self.eval()

    def encode(self, speech, lengths, request=None):
        features = speech[:, : speech.shape[1] // 20 * 20].reshape(len(speech), -1, 20)
        with capture(self.encoder) as layers:
            states, lengths, _ = self.encoder(features, lengths // 20)
        return EncoderOutput({"meaning": states}, {"meaning": lengths}, layers={"meaning": layers})


def speech(*seconds):
    generator = np.random.default_rng(1)
    return [generator.standard_normal(int(600 * s)).astype(np.float32) for s in seconds]
