"""What a test set shares with training, and what training lacks, as caveats of its error rates.

Stage 4 finds it and writes it into `<dump>/<lang>/<set>/validation.json`.
"""

from pathlib import Path

from espnet_ext.files import read_json

# code of a finding → the caveat of what it counts
_CAVEATS = {
    "shared-speakers": "{} are also in training: the error rates do not hold for new speakers",
    "shared-sentences": "{} have a sentence that is also in training, which lowers the meaning "
    "error",
    "other-band": "{}, and no training utterance is: expect higher error rates than with matched "
    "audio",
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
            # An earlier version has written the message only.
            share = finding.get("share")
            caveats.append(_CAVEATS[finding["code"]].format(share) if share else finding["message"])
    return caveats
