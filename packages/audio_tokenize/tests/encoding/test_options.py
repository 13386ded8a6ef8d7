import pytest

from audio_data import InputError
from audio_tokenize.encoding.jobs import seconds_or_none, shard_of_jobs


def test_values_mean_what_they_look_like():
    assert (shard_of_jobs("3/8"), shard_of_jobs(None)) == ((3, 8), None)
    assert (seconds_or_none("10"), seconds_or_none("none")) == (10.0, None)


@pytest.mark.parametrize(
    ("read", "text", "message"),
    [
        (shard_of_jobs, "8", "`--shard` must be I/N, e.g. 0/8 for the first of eight jobs, got '8'"),
        (shard_of_jobs, "-1/8", "got '-1/8'"),
        (seconds_or_none, "", "must be seconds or none, e.g. 10, got ''"),
    ],
)
def test_what_they_cannot_be_is_refused(read, text, message):
    with pytest.raises(InputError) as refused:
        read(text)
    assert message in refused.value.message
