"""CVSS: spoken English translations, beside the Common Voice 4 recordings that they translate; both unpacked."""

from collections.abc import Container, Iterator, Sequence
from pathlib import Path, PurePosixPath

from audio_data import InputError
from audio_tokenize.corpora.corpus import UNKNOWN_SPEAKER, Skipped
from audio_tokenize.corpora.entries import Entry
from audio_tokenize.corpora.reader import PublishedFile, ShardFiles, stem
from audio_tokenize.corpora.text_lines import numbered_lines

SOURCES = "validated.tsv"
# Common Voice names two languages with their region, CVSS without.
_COMMON_VOICE_CODES = {"sv": "sv-SE", "zh": "zh-CN"}


def _language(name: str) -> str:
    """`de` of `cvss_t_de_en_v1.0/train.tsv`."""
    return PurePosixPath(name).parent.name.split("_")[2]


def group_cvss(files: Sequence[PublishedFile]) -> dict[str, tuple[PublishedFile, ...]]:
    """Pairs each `cvss_t_de_en_v1.0/train.tsv` with `de/validated.tsv` of Common Voice, as shard `de/train`.

    Raises:
        InputError: If the Common Voice table of a language is missing.
    """
    sources = {PurePosixPath(file.name).parent.name: file for file in files if file.name.endswith(SOURCES)}
    shards = {}
    for file in files:
        if file.name.endswith(SOURCES):
            continue
        language = _language(file.name)
        source = sources.get(_COMMON_VOICE_CODES.get(language, language)) or sources.get(language)
        if source is None:
            raise InputError(
                f"`{file.location}`: expected `{language}/{SOURCES}` of Common Voice 4, with its `clips`, in the same "
                "folder, got none; get it from commonvoice.mozilla.org"
            )
        shards[f"{language}/{PurePosixPath(stem(file.name)).name}"] = (file, source)
    return shards


def _translations(table: Path, skipped: list[Skipped]) -> dict[str, str]:
    """English by source clip: `common_voice_de_1.mp3`, a tab, the normalised translation."""
    translations = dict[str, str]()
    for line in numbered_lines(table):
        clip, tab, text = line.text.partition("\t")
        if line.problem is not None:
            skipped.append(Skipped(line.name, f"{line.where}: {line.problem}"))
        elif not (tab and clip):
            expected = f"expected a clip, a tab and its translation, got {line.text[:60]!r}"
            skipped.append(Skipped(line.name, f"{line.where}: {expected}"))
        elif clip in translations:
            skipped.append(Skipped(clip, f"{line.where}: a translation of this clip came before"))
        else:
            translations[clip] = text
    return translations


def _sources(table: Path, clips: Container[str], skipped: list[Skipped]) -> dict[str, tuple[str, str]]:
    """Sentence and speaker of those clips of a Common Voice table; quotation marks are part of a sentence."""
    lines = numbered_lines(table)
    names = next(lines).text.split("\t")
    if missing := {"path", "sentence"} - set(names):
        raise InputError(f"`{table}`: expected the columns path and sentence, got {names!r}; {sorted(missing)} missing")
    found = dict[str, tuple[str, str]]()
    for line in lines:
        row = dict(zip(names, line.text.split("\t"), strict=False))
        if line.problem is not None or "path" not in row or "sentence" not in row:
            problem = line.problem or f"expected {len(names)} columns, got {line.text[:60]!r}"
            skipped.append(Skipped(line.name, f"{line.where}: {problem}"))
        elif row["path"] in clips:
            found[row["path"]] = (row["sentence"], row.get("client_id") or UNKNOWN_SPEAKER)
    return found


def read_cvss(shard: ShardFiles) -> Iterator[Entry | Skipped]:
    """Yield two utterances a pair: the source, then its translation, which its `extra` names as `target`.

    `extra` holds `role` (source or target), `pair`, and at the source `target`, `target_text` and `target_speaker`. The
    voice of CVSS-T is the speaker's own, transferred, so both sides have one speaker. The texts of one table are in
    memory (of the largest, German, some 30 MB), the audio is not.

    Source: google-research-datasets/cvss, README; pairing with Common Voice 4 by file name.

    Raises:
        InputError: If a table is missing or of another layout.
    """
    target_table, source_table = shard.paths.values()
    skipped: list[Skipped] = []
    translations = _translations(target_table, skipped)
    sources = _sources(source_table, translations, skipped)
    yield from skipped
    spoken, clips = target_table.parent / target_table.stem, source_table.parent / "clips"
    for clip, translation in translations.items():
        where = f"`{target_table}`, clip `{clip}`"
        if clip not in sources:
            yield Skipped(clip, f"{where}: there is no such clip in `{source_table}`")
            continue
        sentence, speaker = sources[clip]
        pair = PurePosixPath(clip).stem
        source = {"role": "source", "target": f"{pair}-en", "target_text": translation, "target_speaker": speaker}
        sides = (
            (pair, sentence, clips / clip, shard.language, source),
            (f"{pair}-en", translation, spoken / f"{clip}.wav", "en", {"role": "target"}),
        )
        for name, text, audio, language, extra in sides:
            yield Entry(
                id=name,
                text=text,
                audio=audio,
                recording=pair,
                where=where,
                speaker=speaker,
                language=language,
                split=shard.split,
                extra=extra | {"pair": pair},
            )
