"""What trainings that are compared may differ in, and what decodings must have in common."""

# Training options that overlays of systems set
OF_SYSTEMS = ("outputs", "conditioning", "conditioning_conf", "objective", "objective_conf")
# Entries of decode.json that are equal for all trainings of a system
OF_DECODING = ("weights", "options", "coupling", "canonical")
