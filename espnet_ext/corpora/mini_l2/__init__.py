"""The embedded corpus: synthetic speech of learners of Korean and English.

`english` and `korean` define the canonical forms and the pronunciation errors by first language,
`sentences` reads the sentences, `speakers` defines the speakers, `build` decides who says what in
which set, and `synthesis` makes the audio. Only `espeak_worker` loads espeak-ng, which is under the
GPL, in a separate process.
"""
