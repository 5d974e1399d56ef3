"""The figures of arXiv 2606.06065, shown beside ours and never mixed with them.

They are for the authors' corpora (AI Hub second-language read speech), and are given as secondary
sources report them. Both outputs are character error rates there; the English surface here is
phones, so that only the direction of a difference can be compared.
"""

SOURCE = "Cho & Kim, arXiv 2606.06065, AI Hub corpora, CER %"

# system → language → (surface, meaning)
ERROR_RATES = {
    "Conformer SO": {"ko": (11.14, 1.60), "en": (13.78, 3.87)},
    "Conformer DO": {"ko": (11.34, 0.77), "en": (15.08, 3.19)},
    "Whisper-base SO": {"ko": (10.05, 4.62), "en": (11.39, 0.55)},
    "Whisper-small SO": {"ko": (6.76, 0.54), "en": (11.20, 0.27)},
}

# Share of utterances by surface–meaning distance, percent.
DIVERGENCE = {
    "ko": {"0": 38.8, "1-3": 35.4, "4-10": 20.6, ">=11": 5.2},
    "en": {"0": 26.1, "1-3": 40.3, "4-10": 29.5, ">=11": 4.2},
}

# Linear CKA between the encoders of the surface and the meaning single-output systems, 12 layers.
CKA = {
    "ko": {"0": 0.95, "3": 0.43, "6": 0.56, "9": 0.45, "11": 0.56},
    "en": {"0": 0.91, "3": 0.89, "6": 0.75, "9": 0.66, "11": 0.40},
}

# Linear CKA between decoders: (system and output, system and output) → (layer of 8, value).
DECODER_CKA = {
    "en": {
        ("so_meaning meaning", "do meaning"): ("7", 0.24),
        ("so_surface surface", "so_meaning meaning"): ("7", 0.39),
    },
}

# DO − SO by distance, where it is reported, percentage points: output → bin → value.
DIFFERENCE_BY_DISTANCE = {
    "en": {"surface": {"0": 0.28, ">=11": 6.72}, "meaning": {"0": -0.20, ">=11": -3.51}},
}
