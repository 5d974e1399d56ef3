"""Second-language speech recognition with two transcripts per utterance, on ESPnet.

Importing the package is instant: its subpackages load torch and ESPnet only when they are used.
"""

__version__ = "0.1.0"
