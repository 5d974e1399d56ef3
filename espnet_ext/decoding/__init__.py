"""From a trained model and audio to hypotheses of every output, in one pass over the audio.

Holds search and the Python API. Scoring against references is not done here.
"""
