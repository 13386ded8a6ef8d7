import math
from dataclasses import replace

import pytest

from audio_data import InputError
from audio_tokenize import codecs
from audio_tokenize.corpora import AbstractCorpus, Corpus, CorpusShard, Skipped, Utterance, card, open_corpus
from audio_tokenize.encoding.encoded import EncodedCorpus
from audio_tokenize.encoding.jobs import encode_corpus
from audio_tokenize.inspection import pricing
from audio_tokenize.inspection.pricing import (
    Figure,
    find_corpus,
    given_speed,
    measure_speed,
    price_corpus,
    show_price,
    worker_speed,
)
from audio_tokenize.waveform import AudioBytes


class Listed(AbstractCorpus):
    """Three files of known size, of which nothing else is known before they are read."""

    name, licence = "listed", "unknown"

    def __init__(self, sizes=(100, 300, 200)):
        self.sizes, self.was_read = sizes, []

    def shards(self):
        return tuple(CorpusShard(f"s{i}", "f", num_bytes=size) for i, size in enumerate(self.sizes))

    def read(self, shard):
        self.was_read.append(shard.name)
        yield Skipped("x", "no text")
        for i in range(5):
            audio = AudioBytes("x.wav", b"")
            yield Utterance(f"{shard.name}-{i}", "one two three four", audio, shard.name, seconds=2.02)


def test_published_figures_for_yodas_come_out():
    """165,000 h of English in both orders at 100 audio tokens a second are 119 billion."""
    price = price_corpus(card("yodas2"), language="en", words_per_second=2.5)
    both = price.layouts["audio_first + text_first"]
    assert both.audio == 165_000 * 3600 * 100 * 2 == 118_800_000_000
    assert round(both.audio / 1e9) == 119
    assert price.figures["hours"].origin == "published"
    # With text and marks SODA's caches hold 131 billion: less than that, and more than audio alone.
    assert both.audio < both.total < 131e9


def test_the_semantic_layout_is_an_eighth_of_the_acoustic_one():
    price = price_corpus(card("mls-en"))
    assert price.layouts["semantic"].audio * 8 == price.layouts["acoustic"].audio == 45_000 * 3600 * 100
    assert price.layouts["acoustic"].text == 0
    assert price.layouts["text"].audio == 0


def test_a_corpus_in_memory_is_counted_to_the_frame(tmp_path, corpus, codec):
    encode_corpus(corpus, codec, tmp_path / "codes")
    encoded = list(EncodedCorpus.open(tmp_path / "codes"))
    price = price_corpus(corpus)
    figures = price.figures
    assert figures["frames"].value == sum(len(u.codes) for u in encoded)
    assert figures["audio_tokens"].value == sum(u.codes.size for u in encoded)
    assert figures["utterances"].value == len(encoded)
    assert figures["hours"].value * 3600 == pytest.approx(sum(u.seconds for u in encoded))
    assert {figures[name].origin for name in ("hours", "utterances", "frames", "words_per_second")} == {"counted"}
    assert price.missing == ("device hours: give the speed of a worker, or have it measured here",)


def test_files_of_unknown_length_are_estimated_from_a_middling_one():
    corpus = Listed()
    price = price_corpus(corpus)
    assert corpus.was_read == ["s2"]
    assert price.figures["download_bytes"] == Figure(600, "bytes", "counted", "sizes of the files of 3 shards")
    # 5 utterances of 2.02 s are 200 of the 600 bytes; each begins its 26th frame.
    assert price.figures["hours"].value * 3600 == pytest.approx(3 * 10.1)
    assert (price.figures["utterances"].value, price.figures["frames"].value) == (15, 15 * 26)
    assert price.figures["words_per_second"].value == pytest.approx(20 / 10.1)
    assert price.figures["hours"].origin == "estimated"
    assert "33.333% of the bytes" in price.figures["hours"].basis


def test_time_is_hours_by_speed_by_workers():
    price = price_corpus(card("mls-en"), speed=given_speed(50), num_workers=6)
    assert price.figures["device_hours"].value == pytest.approx(45_000 / 50)
    assert price.figures["elapsed_hours"].value == pytest.approx(45_000 / 50 / 6)
    assert price.figures["speed"].origin == "given"


def test_a_language_is_priced_by_its_own_hours():
    price = price_corpus(card("emilia"), language="ja")
    assert (price.corpus, price.figures["hours"].value) == ("emilia-ja", 1_700)
    assert price_corpus(card("emilia")).figures["hours"].value == 101_000


def test_where_the_whole_is_not_known_the_known_languages_are_priced_and_the_others_named():
    price = price_corpus(card("yodas2"))
    assert price.figures["hours"].value == 165_000
    assert price.figures["hours"].basis.startswith("of en alone; YODAS (arXiv 2406.00899)")
    assert price.missing[0] == (
        "hours of th, ar, de, es, fr, hi, zh: not published; price each with `language` and `hours` "
        "(`--language th --hours H`), or with `root`"
    )
    assert not any(line.startswith("hours of") for line in price_corpus(card("yodas2"), hours=10).missing)
    assert not any(line.startswith("hours of") for line in price_corpus(card("yodas2"), language="en").missing)


def test_what_somebody_gives_goes_before_what_is_published():
    price = price_corpus(card("yodas2"), hours=10, words_per_second=3, language="th", num_codebooks=32)
    assert price.figures["hours"] == Figure(10, "h", "given", "given")
    assert price.figures["audio_tokens"].value == 10 * 3600 * 12.5 * 32
    assert price.figures["text_tokens"].value == 10 * 3600 * 3 * 1.25


def test_a_speed_is_measured_by_encoding(monkeypatch, corpus, codec):
    monkeypatch.setattr(
        pricing, "open_corpus", lambda name, **rest: corpus if name == "sample" else open_corpus(name, **rest)
    )
    monkeypatch.setattr(pricing, "_MEASURED_SECONDS", 2.0)
    encoded = []

    class Timed(type(codec)):
        def encode_batch(self, signals):
            encoded.append(sum(len(signal) for signal in signals) / self.sample_rate_hz)
            return super().encode_batch(signals)

    monkeypatch.setattr(codecs, "load_codec", lambda spec: Timed())
    speed = measure_speed("tiny")
    assert (speed.origin, speed.unit) == ("measured", "x real time per worker")
    assert "codec tiny-v1 alone" in speed.basis
    assert 0 < speed.value < math.inf
    assert len(encoded) == 2
    assert 2 <= encoded[0] == encoded[1] < 3


def test_a_name_is_a_card_until_there_are_files(tmp_path, speech):
    assert find_corpus("mls-en") is card("mls-en")
    thai = find_corpus("sample-multilingual", language="th")
    assert isinstance(thai, Corpus)
    assert thai.languages == ("th",)
    assert find_corpus(str(speech)).name == speech.name
    with pytest.raises(InputError, match=r"expected files of corpus `mls-en` as published"):
        price_corpus(find_corpus("mls-en", root=str(tmp_path)))


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("peoples-speech-clean", {}, r"corpus `peoples-speech-clean` are not published: give `hours` \(`--hours H`\)"),
        ("yodas2", {"language": "th"}, "the hours of language 'th' of corpus `yodas2` are not published"),
        ("yodas2", {"language": "pt"}, "`language` of corpus `yodas2` must be one of en, th, .*got 'pt'"),
        ("dclm-baseline", {}, "must be of speech to be encoded, got one of text"),
        ("mls-en", {"hours": 0}, "`hours` must be a number above 0, got 0"),
        ("mls-en", {"words_per_second": -1}, "`words_per_second` must be a number above 0"),
        ("mls-en", {"num_codebooks": 0}, "`codebooks` must be at least 1, got 0"),
        ("mls-en", {"num_workers": 0}, "`workers` must be at least 1, got 0"),
    ],
)
def test_what_cannot_be_priced_is_refused(name, options, message):
    with pytest.raises(InputError, match=message):
        price_corpus(card(name), **options)


def test_a_speed_that_makes_no_sense_is_refused():
    with pytest.raises(InputError, match="`speed` must be a number of times real time above 0, got 0"):
        given_speed(0)
    with pytest.raises(InputError, match="exclude each other"):
        worker_speed(3, "embedded")
    assert worker_speed(None, None) is None


def test_a_corpus_without_audio_is_refused():
    class Silent(Listed):
        def read(self, shard):
            yield Skipped("x", "no text")

    with pytest.raises(InputError, match="corpus `listed` must have audio in `s2`, got no usable utterance"):
        price_corpus(Silent())


def test_every_figure_is_shown_with_its_origin():
    price = price_corpus(replace(card("mls-en"), num_bytes=7 * 10**11), speed=given_speed(50))
    shown = show_price(price)
    for name, figure in price.figures.items():
        (line,) = (line for line in shown.splitlines() if line.strip().startswith(name.replace("_", " ") + " "))
        assert figure.origin in line
        assert figure.basis in line
    assert "700 G bytes" in shown
    json = price.to_json()
    assert json["figures"]["hours"]["origin"] == "published"
    assert json["layouts"]["acoustic"]["total"] == price.layouts["acoustic"].total
