"""Pre-trained speech models: Hugging Face checkpoints as frontend, encoder and decoder.

One module per family of networks; `registry` chooses the family by the checkpoint's `model_type`.
A trained model directory stores the architecture in its config.yaml, so loading it needs neither
the pre-trained checkpoint nor a network connection.
"""
