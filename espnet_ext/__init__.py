"""Second-language speech recognition with two transcripts an utterance, on ESPnet.

Importing the package is instant: the rooms below load torch and ESPnet only when they are used.
"""

__version__ = "0.1.0"
