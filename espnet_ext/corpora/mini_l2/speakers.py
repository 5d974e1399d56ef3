"""The speakers: 46 synthetic speakers per language, disjoint across train, valid and test."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Speaker:
    """A learner with a voice of espeak-ng and a recording setup."""

    name: str  # "<lang><number>", e.g. "en01"
    subset: str  # "train", "valid" or "test"
    variant: str  # espeak-ng's voice variant
    pitch: int  # 0 to 99; 50 is the default of the variant
    pitch_range: int  # 0 to 99
    words_per_minute: int
    level: float  # level of errors: 0 none, 1 a weak learner, above 1 a beginner
    snr_db: float  # signal-to-noise ratio of the recording
    tilt: float  # spectral tilt of the microphone: above 0 dull, below 0 bright
    l1: str  # first language


# subset, variant, pitch, range, words per minute, level, SNR in dB, tilt. The valid and test voices
# are not in training. Their spectra are as close to the nearest training voice as training voices
# are to each other, or closer (tests/corpora/test_mini_l2_synthesis.py). Variants with `breath`
# values (f2, f3, f5) are excluded: espeak-ng does not initialise the filters for them, so their
# audio is not reproducible.
_PROFILES = (
    ("train", "m1", 48, 50, 165, 0.05, 30, 0.00),
    ("train", "f1", 50, 55, 150, 0.40, 24, 0.15),
    ("train", "m3", 55, 45, 175, 1.00, 28, -0.15),
    ("train", "linda", 42, 50, 160, 2.60, 20, 0.10),
    ("train", "m4", 60, 55, 145, 0.15, 18, 0.20),
    ("train", "Andrea", 40, 45, 170, 1.20, 32, -0.10),
    ("train", "m7", 50, 60, 180, 0.70, 26, 0.05),
    ("train", "shelby", 52, 50, 155, 0.10, 22, -0.20),
    ("train", "Denis", 52, 50, 160, 1.60, 25, 0.00),
    ("train", "aunty", 48, 50, 185, 0.85, 29, 0.10),
    ("train", "Mario", 45, 50, 170, 0.08, 21, -0.10),
    ("train", "m2", 40, 45, 150, 4.60, 27, 0.15),
    ("train", "robert", 46, 50, 165, 2.20, 27, 0.05),
    ("train", "Gene", 50, 55, 158, 0.12, 23, -0.10),
    ("train", "ed", 52, 50, 172, 1.30, 30, 0.10),
    ("train", "grandma", 45, 50, 168, 0.25, 26, 0.00),
    ("train", "Michael", 50, 45, 162, 1.40, 19, 0.15),
    ("train", "Annie", 42, 55, 152, 0.80, 31, -0.05),
    ("train", "Nguyen", 48, 50, 178, 0.30, 25, 0.20),
    ("train", "pedro", 55, 50, 166, 3.20, 28, -0.15),
    ("train", "m8", 52, 55, 156, 0.18, 22, 0.05),
    ("train", "Hugo", 50, 50, 174, 1.10, 24, -0.05),
    ("train", "antonio", 47, 50, 163, 0.35, 29, 0.10),
    ("train", "paul", 54, 50, 170, 1.00, 21, -0.20),
    ("valid", "m5", 52, 50, 160, 0.30, 24, 0.05),
    ("valid", "f4", 50, 50, 170, 1.40, 27, -0.05),
    ("valid", "m6", 54, 50, 155, 0.10, 25, 0.10),
    ("valid", "Alex", 50, 55, 175, 0.80, 29, 0.05),
    ("valid", "norbert", 52, 50, 162, 2.10, 22, -0.10),
    ("valid", "rob", 46, 50, 168, 0.55, 26, 0.15),
    ("test", "belinda", 38, 50, 155, 0.35, 22, -0.10),
    ("test", "john", 50, 50, 164, 1.50, 27, 0.05),
    ("test", "anika", 44, 50, 158, 0.75, 25, 0.00),
    ("test", "boris", 52, 50, 170, 0.08, 23, 0.10),
    ("test", "steph", 48, 50, 150, 1.15, 26, 0.00),
    ("test", "max", 50, 55, 160, 2.70, 29, -0.05),
    ("test", "quincy", 50, 50, 172, 0.50, 21, 0.15),
    ("test", "Andy", 54, 50, 156, 0.15, 30, -0.15),
    ("test", "gustave", 48, 50, 166, 1.80, 24, 0.10),
    ("test", "Henrique", 50, 45, 152, 0.90, 28, 0.05),
    ("test", "Mike", 50, 50, 176, 0.25, 20, -0.05),
    ("test", "Jacky", 50, 55, 162, 1.00, 26, 0.20),
    ("test", "grandpa", 50, 50, 154, 3.40, 25, 0.00),
    ("test", "Gene2", 48, 50, 168, 0.60, 31, -0.10),
    ("test", "marcelo", 52, 50, 158, 2.20, 22, 0.05),
    ("test", "travis", 50, 50, 174, 1.30, 27, 0.10),
)


def speakers(lang: str, l1s: Sequence[str]) -> tuple[Speaker, ...]:
    """Return the speakers of a language; the first languages are assigned in turn.

    >>> [speaker.name for speaker in speakers("en", ["ko"]) if speaker.subset == "valid"]
    ['en25', 'en26', 'en27', 'en28', 'en29', 'en30']
    """
    return tuple(
        Speaker(f"{lang}{number:02d}", *profile, l1s[(number - 1) % len(l1s)])
        for number, profile in enumerate(_PROFILES, 1)
    )
