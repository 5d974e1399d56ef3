"""Write small corpora in the layouts of AI Hub, as folders or zip archives; the audio is noise."""

import io
import json
import zipfile
from pathlib import Path

import numpy as np
import soundfile

RATE = 16000
PARTS = {"train": ("1.Training", "T"), "valid": ("2.Validation", "V")}


def wav(seconds: float = 0.25) -> bytes:
    noise = np.random.default_rng(0).uniform(-0.1, 0.1, int(seconds * RATE))
    buffer = io.BytesIO()
    soundfile.write(buffer, noise, RATE, format="WAV", subtype="PCM_16")
    return buffer.getvalue()


def pcm(seconds: float = 0.25) -> bytes:
    return wav(seconds)[44:]


def label505(
    stem: str,
    speaker: str,
    reading: str = "",
    transcript: str = "",
    answer: str = "",
    language: str = "영어",
    **more: object,
) -> dict:
    """Return a label of data set 505, with all keys in the published order."""
    return {
        "fileName": f"{stem}.wav",
        "file_info": {
            "speakerID": speaker,
            "sentenceID": stem.partition("_")[0],
            "recordUnit": "휴대폰",
            "recordQuality": "16K",
            "recordDate": "2021-08-01",
            "recordTime": "12.83",
        },
        "transcription": {
            "Reading": reading,
            "ReadingLabelText": transcript,
            "Question": "" if reading else "한국에서 무엇을 해 보고 싶습니까?",
            "AnswerLabelText": answer,
            "SentenceSpeechLV": "중",
        },
        "SpeakerID": speaker,
        "basic_info": {"gender": "여", "birthYear": "1994", "eduBackground": "대학교"},
        "residence_info": {"country": "미국", "residencePeriod": "12", "residenceCity": "서울"},
        "skill_info": {
            "languageClass": language,
            "motherTongue": language,
            "selfAssessment": "중급",
            "topikGrade": "4",
            "LearningPeriod": "24",
            "learningSource": "대학",
        },
        **more,
    }


def label_l2(user: str, prompt: str, transcript: str, language: str = "영어") -> dict:
    """Return a label of data sets 71469 to 71479."""
    return {
        "UserID": user,
        "RecordingMetadata": {"prompt": prompt, "orthographic": transcript, "RecordedTime": 3.2},
        "SpeakerMetadata": {
            "birth_year": "1991",
            "gender": "F",
            "nationality": "미국",
            "language": language,
            "proficiency": "중급",
            "topik_level": "4",
        },
        "EvaluationMetadata": {"PronunProfEval": 3, "FluencyEval": 4, "ComprehendEval": 5},
    }


def encoded(label: dict, encoding: str = "utf-8") -> bytes:
    return json.dumps(label, ensure_ascii=False, indent="\t").encode(encoding)


def write_aihub(
    root: Path,
    parts: dict[str, dict[str, bytes]],
    *,
    group: str = "1. 영어/1. 한국일반",
    sound: bytes | None = None,
    silent: tuple[str, ...] = (),
) -> Path:
    """Write a corpus of unpacked files.

    `parts` is "train"/"valid" → stem → label; `silent` stems get no audio file.
    """
    sound = wav() if sound is None else sound
    for part, labels in parts.items():
        folder = root / "01.데이터_new_20220719" / PARTS[part][0]
        for stem, content in labels.items():
            _put(folder / "라벨링데이터" / group / f"{stem}.json", content)
            if stem not in silent:
                language, _, topic = group.partition("/")
                _put(
                    folder / f"원천데이터/{PARTS[part][1]}S_{language}" / topic / f"{stem}.wav",
                    sound,
                )
    return root


def _put(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def write_aihub_zips(
    root: Path,
    parts: dict[str, dict[str, bytes]],
    *,
    language: str = "1. 영어",
    topic: str = "1. 한국일반",
    names: str = "cp949",
    sound: bytes | None = None,
) -> Path:
    """Write the same corpus as zip archives; `names` is the encoding of the file names."""
    sound = wav() if sound is None else sound
    for part, labels in parts.items():
        folder, letter = PARTS[part]
        for kind, prefix, suffix in (("라벨링데이터", "L", "json"), ("원천데이터", "S", "wav")):
            path = root / "01.데이터_new_20220719" / folder / kind
            path.mkdir(parents=True, exist_ok=True)
            members = {
                f"{topic}/{stem}.{suffix}": content if suffix == "json" else sound
                for stem, content in labels.items()
            }
            zip_of(path / f"{letter}{prefix}_{language}.zip", members, names)
    return root


def zip_of(path: Path, members: dict[str, bytes], names: str = "utf-8") -> Path:
    """Write a zip archive with names in an encoding that it does not declare."""

    class Named(zipfile.ZipInfo):
        __slots__ = ()

        def _encodeFilenameFlags(self):  # noqa: N802 named by zipfile
            return self.filename.encode(names), self.flag_bits

    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as bundle:
        for name, content in members.items():
            info = Named(name, (2022, 7, 19, 0, 0, 0))
            bundle.writestr(info, content, zipfile.ZIP_DEFLATED)
    return path


def write_ksponspeech(
    root: Path,
    sets: dict[str, dict[str, str]],
    *,
    lists: bool = True,
    texts: bool = True,
    sound: bytes | None = None,
) -> Path:
    """Write KsponSpeech: lists in UTF-8, files beside the audio in CP949.

    `sets` is set → stem → transcript.
    """
    sound = pcm() if sound is None else sound
    for name, transcripts in sets.items():
        rows = []
        for stem, text in transcripts.items():
            if name.startswith("eval"):
                folder = f"KsponSpeech_eval/{name}"
            else:
                number = int(stem[-6:])
                folder = f"KsponSpeech_0{number // 124001 + 1}/KsponSpeech_{number // 1000 + 1:04}"
            rows.append(f"{folder}/{stem}.pcm :: {text}")
            _put(root / folder / f"{stem}.pcm", sound)
            if texts:
                _put(root / folder / f"{stem}.txt", text.encode("cp949"))
        if lists:
            content = "".join(f"{row}\n" for row in rows)
            _put(root / "KsponSpeech_scripts" / f"{name}.trn", content.encode())
    return root
