"""The readers of published layouts, by name; the list of corpora does without, since they need pyarrow."""

from collections.abc import Mapping

from audio_tokenize.corpora.reader import Reader
from audio_tokenize.corpora.readers.cvss import group_cvss, read_cvss
from audio_tokenize.corpora.readers.librispeech import group_librispeech, read_librispeech
from audio_tokenize.corpora.readers.parquet import TABLES, table_reader
from audio_tokenize.corpora.readers.webdataset import read_emilia, read_webdataset
from audio_tokenize.corpora.readers.yodas import group_yodas, read_yodas

READERS: Mapping[str, Reader] = {
    "yodas": Reader(read_yodas, group_yodas),
    "emilia": Reader(read_emilia),
    "librispeech": Reader(read_librispeech, group_librispeech),
    "cvss": Reader(read_cvss, group_cvss),
    "tar": Reader(read_webdataset),
    **{name: Reader(table_reader(table)) for name, table in TABLES.items()},
}
"""Readers by the name that a card gives."""
