"""Options that several corpora of the registry share.

Needs nothing but the standard library of Python 3.9.
"""

from __future__ import annotations

from espnet_ext.corpora.options import Option


def corpus_folder(recipe_name: str, help: str) -> Option:
    return Option("corpus_dir", "", help, "path", required_group="corpus", recipe_name=recipe_name)


SKIP_UNREADABLE = Option(
    "skip_unreadable", "false", "leave out unreadable audio instead of stopping", "boolean"
)
ARCHIVE = Option(
    "archive",
    "",
    "the archive as published, instead of the folder; it is unpacked into downloads_dir",
    "path",
    required_group="corpus",
)
DOWNLOADS_DIR = Option(
    "downloads_dir", "downloads", "where archives are unpacked", "path", recipe_name=""
)
DOWNLOAD = Option(
    "download",
    "false",
    "download the archive, if its publishers allow that",
    "boolean",
    required_group="corpus",
)
SHA256 = Option("sha256", "", "SHA-256 checksum that the archive must have")
ACCEPT_UNVERIFIED = Option(
    "accept_unverified",
    "false",
    "use a downloaded archive although there is no checksum for it",
    "boolean",
)


def parallel(default: int, help: str) -> Option:
    return Option("nj", str(default), help, "count")


FILES_AT_A_TIME = parallel(2, "number of files read in parallel")
PROCESSES = parallel(1, "number of processes")
UNIDENTIFIED = Option(
    "unidentified",
    "unlabelled",
    choices=("unlabelled", "token"),
    help="surface with a phone that annotators could not identify: leave the surface unlabelled, "
    "or write the token ERR",
)
DISFLUENCIES = Option(
    "disfluencies",
    "keep",
    choices=("keep", "drop"),
    help="keep or drop fillers and repetitions in the surface",
)
UNINTELLIGIBLE = Option(
    "unintelligible",
    "unlabelled",
    choices=("unlabelled", "drop"),
    help="text with unintelligible words (u/, un/): leave it unlabelled, or drop these words",
)
AIHUB_SPLIT = Option(
    "split",
    "auto",
    choices=("auto", "official", "speakers"),
    help="official: the published Validation part is the test set; speakers: split by speakers; "
    "auto: official if both published parts are there, else speakers",
)
PRIVACY = (
    Option(
        "personal",
        "false",
        "also write year of birth, sex, country and grade of speakers (utt2birthyear, ...)",
        "boolean",
    ),
    Option(
        "pseudonym_key_file",
        "",
        "file with a secret key for the pseudonyms of speakers whose id may be a name",
        "path",
    ),
)
TRANSLATION_CASES = ("tc", "lc", "lc.rm")
TRANSLATION = (
    Option("lang", "en", "language spoken", recipe_name="langs"),
    Option("tgt_lang", "de", "language of the translations"),
    Option(
        "transcript_case",
        "lc.rm",
        choices=TRANSLATION_CASES,
        help="transcripts in true case (tc), in lower case (lc), or in lower case without "
        "punctuation (lc.rm)",
    ),
    Option("translation_case", "tc", choices=TRANSLATION_CASES, help="the same for translations"),
    Option(
        "missing_text",
        "error",
        choices=("error", "unlabelled"),
        help="an empty line in a text: an error, or an unlabelled utterance",
    ),
)
