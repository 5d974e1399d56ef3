"""Training options that overlays of systems set, in which compared systems may therefore differ."""

OF_SYSTEMS = ("outputs", "conditioning", "conditioning_conf", "objective", "objective_conf")
