"""Feedback for a learner: the named deviations of one recording, with calibrated probabilities.

What belongs here: the expected pronunciation of a sentence, its comparison with what was
recognised, the evidence for each deviation, its calibration, and the result as text and JSON.
What does not: decoding, and the evaluation of recognisers from files (`scoring.mdd`).
"""
