import subprocess
import sys

from hypothesis import given
from hypothesis import strategies as st

from audio_data.seen_ids import SeenIds

MEASURE = """
import resource
from audio_data.seen_ids import SeenIds
with SeenIds() as seen:
    assert all(seen.add(f"document-{i}") for i in range(20_000))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert not any(seen.add(f"document-{i}") for i in range(20_000))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2048
"""


@given(st.lists(st.text(max_size=3)))
def test_an_id_is_new_once(names):
    with SeenIds() as seen:
        found = [seen.add(name) for name in names]
    assert found == [name not in names[:i] for i, name in enumerate(names)]


def test_names_that_are_no_text_are_told_apart():
    with SeenIds() as seen:
        assert [seen.add(name) for name in ("\udce9", "\udcea", "\udce9")] == [True, True, False]


def test_asking_again_takes_no_memory():
    subprocess.run([sys.executable, "-c", MEASURE], check=True)
