"""YODAS2: whole videos in `audio/*.tar.gz`, their captions in `text/*.json` of the same number."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from audio_data import InputError
from audio_tokenize.corpora.corpus import Skipped
from audio_tokenize.corpora.entries import STATED_TOLERANCE_SECONDS, Entry
from audio_tokenize.corpora.reader import PublishedFile, ShardFiles, stem
from audio_tokenize.corpora.readers.archives import Member, tar_members
from audio_tokenize.corpora.record_rules import MAX_AUDIO_BYTES, MAX_TABLE_BYTES
from audio_tokenize.corpora.text_lines import read_text
from audio_tokenize.waveform import AudioBytes

_AUDIO, _TEXT = "audio", "text"
# VIDEO-INDEX-START-END, times in hundredths of a second; a video's id may hold hyphens itself.
_CHUNK = re.compile(r"(?P<video>.+)-(?P<index>\d{1,12})-(?P<start>\d{1,12})-(?P<end>\d{1,12})", re.DOTALL)


def group_yodas(files: Sequence[PublishedFile]) -> dict[str, tuple[PublishedFile, ...]]:
    """Pairs `data/en000/audio/00000012.tar.gz` with `data/en000/text/00000012.json`, as shard `en000/00000012`.

    Captions without audio are no shard: they are small, and people download all of them.

    Raises:
        InputError: If there is audio without captions.
    """
    kinds: dict[str, dict[str, PublishedFile]] = {_AUDIO: {}, _TEXT: {}}
    for file in files:
        path = PurePosixPath(stem(file.name))
        if path.parent.name in kinds:
            kinds[path.parent.name][f"{path.parent.parent.name}/{path.name}"] = file
    for name, file in kinds[_AUDIO].items():
        if name not in kinds[_TEXT]:
            expected = stem(file.name).replace(f"/{_AUDIO}/", f"/{_TEXT}/") + ".json"
            raise InputError(f"`{file.location}`: expected its captions in `{expected}`, got no such file; download it")
    return {name: (file, kinds[_TEXT][name]) for name, file in kinds[_AUDIO].items()}


@dataclass(frozen=True)
class _Chunk:
    index: int
    start_seconds: float
    end_seconds: float


def _parse_chunk(chunk_id: str) -> _Chunk | None:
    match = _CHUNK.fullmatch(chunk_id)
    if match is None:
        return None
    return _Chunk(int(match["index"]), int(match["start"]) / 100, int(match["end"]) / 100)


def _read_captions(path: Path) -> tuple[dict[str, Mapping[str, Any]], list[Skipped]]:
    """Captions by video, in the order of the file, and what of the file says no captions."""
    try:
        # Not the strict reader: half a surrogate pair or a NaN in one caption must not cost all other videos.
        videos = json.loads(read_text(path, MAX_TABLE_BYTES))
    except (ValueError, RecursionError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"`{path}`: expected a JSON list of videos, got {str(error)!r}; download it again") from error
    if not isinstance(videos, list):
        raise InputError(
            f"`{path}`: expected a JSON list of videos with `audio_id` and `text`, got {videos!r:.60}; get it again"
        )
    captions, skipped = dict[str, Mapping[str, Any]](), list[Skipped]()
    for place, video in enumerate(videos):
        name, texts = (video.get("audio_id"), video.get("text")) if isinstance(video, dict) else (None, None)
        if not (isinstance(name, str) and isinstance(texts, dict)):
            expected = "expected an object with `audio_id`, a string, and `text`, an object of captions"
            skipped.append(Skipped(f"{path.name}:{place}", f"`{path}`, video {place}: {expected}, got {video!r:.60}"))
        elif name in captions:
            skipped.append(Skipped(name, f"`{path}`, video {place}: captions of `{name}` came before"))
        else:
            captions[name] = texts
    return captions, skipped


def _entries(shard: ShardFiles, member: Member, video: str, captions: Mapping[str, Any]) -> Iterator[Entry | Skipped]:
    """Yield the captions of one video, in the order of the file; they share its audio."""
    if problem := member.problem(MAX_AUDIO_BYTES):
        yield Skipped(video, problem)
        return
    audio = AudioBytes(f"{member.archive}/{member.name}", member.read())
    for chunk_id, text in captions.items():
        chunk = _parse_chunk(chunk_id)
        if chunk is None or not isinstance(text, str):
            yield Skipped(chunk_id, f"{member.where}: expected VIDEO-INDEX-START-END and a text, got {text!r}")
            continue
        yield Entry(
            id=chunk_id,
            text=text,
            audio=audio,
            recording=video,
            where=f"{member.where}, caption `{chunk_id}`",
            start_seconds=chunk.start_seconds,
            end_seconds=chunk.end_seconds,
            end_tolerance_seconds=STATED_TOLERANCE_SECONDS,
            language=shard.language,
            split=shard.split,
            extra={
                "index": chunk.index,
                "begin_seconds": chunk.start_seconds,
                "end_seconds": chunk.end_seconds,
                "shard": shard.name,
            },
        )


def read_yodas(shard: ShardFiles) -> Iterator[Entry | Skipped]:
    """Yield the captioned stretches of every video, video by video as they lie in the archive.

    The times are in the caption's id. A caption of no length or that ends before it starts is skipped, and so is one
    that ends over half a second after its audio; the program named below cuts the last kind off at the end of the
    audio, whatever is missing. Videos without captions and captions without a video are skipped by name.

    Source: espnet/yodas2; times of potsawee/tokenize-audio, yodas2-mimi.

    Raises:
        InputError: If a file is missing, damaged or cut short.
    """
    audio_path, text_path = shard.paths.values()
    captions, skipped = _read_captions(text_path)
    yield from skipped
    for member in tar_members(audio_path):
        video = PurePosixPath(member.name).stem
        if video not in captions:
            yield Skipped(video, f"{member.where}: there are no captions of it in `{text_path}`")
            continue
        yield from _entries(shard, member, video, captions.pop(video))
    for video in captions:
        yield Skipped(video, f"`{text_path}`: there is no audio of it in `{audio_path}`")
