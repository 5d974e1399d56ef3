"""What a test set shares with training, and what training lacks, as caveats of its error rates.

Stage 4 finds it and writes it into `<dump>/<lang>/<set>/validation.json`.
"""

import re
from pathlib import Path

from espnet_ext.files import read_json

# code of a finding → how its message begins, and the caveat of what it counts
_CAVEATS = {
    "shared-speakers": (
        re.compile(r"([0-9]+ of [0-9]+ speakers \([0-9]+ utterances\)) are in "),
        "{} are also in training: the error rates do not hold for new speakers",
    ),
    "shared-sentences": (
        re.compile(r"([0-9]+ of [0-9]+ utterances) \([0-9.]+ %\) have a sentence that is in "),
        "{} have a sentence that is also in training, which lowers the meaning error",
    ),
    "other-band": (
        re.compile(
            r"([0-9]+ of [0-9]+ utterances are (?:narrow|wide)band \([^)]*\)), and none of "
        ),
        "{}, and no training utterance is: expect higher error rates than with matched audio",
    ),
}


def overlap_caveats(folder: Path) -> list[str]:
    """Return the caveats of a formatted test set; none if stage 4 has not compared it."""
    path = folder / "validation.json"
    if not path.is_file():
        return []
    content = read_json(path)
    findings = content.get("findings", []) if isinstance(content, dict) else []
    shared = {finding["utt_id"] for finding in findings if finding["code"] == "shared-audio"}
    caveats = []
    if shared:
        caveats.append(
            f"{len(shared)} of {content['utterances']} recordings are also in training: the error "
            "rates do not hold for new recordings"
        )
    for finding in findings:
        if finding["code"] in _CAVEATS:
            pattern, caveat = _CAVEATS[finding["code"]]
            match = pattern.match(finding["message"])
            # A later version may word its findings differently.
            caveats.append(caveat.format(match[1]) if match else finding["message"])
    return caveats
