"""The embedded corpus: written sentences, learners' errors, synthetic speakers, Korean and English.

`english` and `korean` hold what a language needs (sentences, canonical forms, errors by first
language), `speakers` who speaks, `build` who says what in which set, `synthesis` the audio. Only
`espeak_worker` loads espeak-ng, which is GPL, and it runs in a process of its own. Not here: data
directories (`data`), what other corpora share (`corpora.preparation`).
"""
