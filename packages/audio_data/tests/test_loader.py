import dataclasses
import hashlib
import itertools
import subprocess
import sys

import numpy as np
import pytest

from audio_data import BatchLoader, InputError, Mixture, Packing, Stage

WINDOWS, PACKED = Packing("windows"), Packing("best_fit", "reset")
PACKINGS = (WINDOWS, PACKED, Packing("next_fit", max_segments=3))


@pytest.fixture(scope="module")
def datasets(tmp_path_factory, make_documents, write_dataset):
    root = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    return {
        name: write_dataset(
            root / name,
            make_documents(rng.integers(0, 40, count).tolist(), seed=seed, name=name),
            documents_per_shard=16,
            tokens_per_record=16,
        )
        for seed, (name, count) in enumerate([("a", 60), ("b", 25), ("c", 40)])
    }


MIXTURE = Mixture("m", (Stage(0, {"a": 0.6, "b": 0.4}), Stage(7, {"a": 0.2, "c": 0.8})), block_size=32)


def make_loader(datasets, packing=WINDOWS, mixture=MIXTURE, **options):
    settings = {"seq_len": 24, "batch_size": 8, "seed": 5, **options}
    return BatchLoader(datasets, mixture, packing=packing, **settings)


def assert_equal(one, other):
    for field in dataclasses.fields(one):
        left, right = getattr(one, field.name), getattr(other, field.name)
        assert left.dtype == right.dtype
        assert np.array_equal(left, right), field.name


def join(batches):
    fields = [field.name for field in dataclasses.fields(batches[0])]
    return dataclasses.replace(
        batches[0], **{f: np.concatenate([getattr(batch, f) for batch in batches]) for f in fields}
    )


@pytest.mark.parametrize("packing", PACKINGS, ids=lambda packing: packing.kind)
@pytest.mark.parametrize("num_hosts", [1, 2, 4, 8])
def test_any_number_of_hosts_reads_the_same_global_batches(datasets, packing, num_hosts):
    whole = make_loader(datasets, packing)
    hosts = [make_loader(datasets, packing, host=h, num_hosts=num_hosts) for h in range(num_hosts)]
    for step in (0, 1, 6, 7, 8, 500):
        assert_equal(join([host.batch(step) for host in hosts]), whole.batch(step))


@pytest.mark.parametrize("packing", PACKINGS, ids=lambda packing: packing.kind)
def test_a_run_that_goes_on_reads_what_it_would_have_read(datasets, packing):
    expected = list(itertools.islice(make_loader(datasets, packing).iterate(), 12))
    for start in (0, 1, 7, 9):
        again = itertools.islice(make_loader(datasets, packing).iterate(start), 12 - start)
        for one, other in zip(again, expected[start:], strict=True):
            assert_equal(one, other)


def test_going_on_with_another_number_of_hosts_changes_nothing(datasets):
    expected = list(itertools.islice(make_loader(datasets).iterate(), 10))
    before = [make_loader(datasets, host=h, num_hosts=2).iterate() for h in range(2)]
    found = [join([next(host) for host in before]) for _ in range(6)]
    after = [make_loader(datasets, host=h, num_hosts=4).iterate(6) for h in range(4)]
    found += [join([next(host) for host in after]) for _ in range(4)]
    for one, other in zip(found, expected, strict=True):
        assert_equal(one, other)


HOST = """
import hashlib, itertools, sys
from audio_data import BatchLoader, Mixture, Packing, Stage, open_root
root, kind, *parts = sys.argv[1:]
mixture = Mixture("m", (Stage(0, {"a": 0.6, "b": 0.4}), Stage(7, {"a": 0.2, "c": 0.8})), block_size=32)
options = {"seq_len": 24, "batch_size": 8, "seed": 5, "packing": Packing(kind)}
datasets = open_root(root)
for part in parts:
    host, num_hosts, start, stop = map(int, part.split(","))
    loader = BatchLoader(datasets, mixture, **options, host=host, num_hosts=num_hosts)
    for batch in itertools.islice(loader.iterate(start), stop - start):
        rows = zip(batch.tokens, batch.segment_ids, batch.positions, batch.loss_mask, batch.corpus)
        print(part, *(hashlib.sha256(b"".join(part.tobytes() for part in row)).hexdigest() for row in rows))
"""


def rows_of_processes(root, kind, stretches):
    """The rows of each global batch, hashed, as processes read them side by side: one process a host.

    A stretch is a number of hosts, a first step and the step after the last; a process is host `h` of every stretch
    that has so many.
    """
    command = [sys.executable, "-c", HOST, str(root), kind]
    hosts = []
    for host in range(max(num_hosts for num_hosts, _, _ in stretches)):
        parts = [",".join(map(str, (host, *stretch))) for stretch in stretches if host < stretch[0]]
        hosts.append(subprocess.Popen([*command, *parts], stdout=subprocess.PIPE, text=True))
    lines = [host.communicate()[0].splitlines() for host in hosts]
    assert [host.returncode for host in hosts] == [0] * len(hosts)
    rows = []
    for num_hosts, start, stop in stretches:
        names = [f"{host},{num_hosts},{start},{stop} " for host in range(num_hosts)]
        parts = [
            [line.removeprefix(name) for line in found if line.startswith(name)]
            for name, found in zip(names, lines, strict=False)
        ]
        assert [len(part) for part in parts] == [stop - start] * num_hosts
        rows += [" ".join(row).split() for row in zip(*parts, strict=True)]
    return rows


@pytest.mark.long
def test_processes_of_1_2_and_4_hosts_read_the_same_before_and_after_a_resume(datasets):
    """Windows; one stretch of the run with each number of hosts, across the change of stage at step 7."""
    root = datasets["a"].path.parent
    whole = hashed_rows(make_loader(datasets), 12)
    assert all(len(set(rows)) == 8 for rows in whole[:2])
    assert rows_of_processes(root, "windows", ((2, 0, 5), (4, 5, 9), (1, 9, 12))) == whole


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["windows", "best_fit", "next_fit"])
def test_processes_of_up_to_8_hosts_read_the_same_before_and_after_a_resume(datasets, kind):
    root = datasets["a"].path.parent
    whole = hashed_rows(make_loader(datasets, Packing(kind)), 12)
    for before, after in ((2, 4), (4, 1), (1, 8), (8, 2)):
        assert rows_of_processes(root, kind, ((before, 0, 5), (after, 5, 12))) == whole


def hashed_rows(loader, num_steps):
    """The rows of each global batch, hashed as the processes of hosts hash theirs."""
    names = ("tokens", "segment_ids", "positions", "loss_mask", "corpus")
    batches = [[getattr(loader.batch(step), name) for name in names] for step in range(num_steps)]
    return [
        [hashlib.sha256(b"".join(part.tobytes() for part in row)).hexdigest() for row in zip(*batch, strict=True)]
        for batch in batches
    ]


THREADS = """
import itertools, os, sys, threading, time
from audio_data import BatchLoader, Mixture, open_root

def count(num_corpora, host, num_hosts):
    mixture = Mixture.constant("m", dict.fromkeys(list(datasets)[:num_corpora], 1.0))
    options = {"seq_len": 8, "batch_size": 48, "seed": 0}
    batches = BatchLoader(datasets, mixture, **options, host=host, num_hosts=num_hosts).iterate()
    list(itertools.islice(batches, 4))
    print(len(os.listdir("/proc/self/task")))

datasets = open_root(sys.argv[1])
for arguments in ((1, 0, 1), (12, 0, 1), (1, 3, 4), (12, 3, 4)):
    count(*arguments)
    while threading.active_count() > 1:
        time.sleep(0.01)
"""


@pytest.mark.long
def test_threads_do_not_grow_with_corpora_or_hosts(tmp_path, make_documents, write_dataset):
    for i in range(12):
        write_dataset(tmp_path / f"c{i:02d}", make_documents([20] * 6, seed=i), documents_per_shard=1)
    command = [sys.executable, "-c", THREADS, str(tmp_path)]
    found = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, timeout=120).stdout.split()
    assert len(found) == 4
    assert len(set(found)) == 1


@pytest.mark.parametrize("num_hosts", [2, 8])
def test_a_run_that_goes_on_with_8_hosts_or_leaves_them_changes_nothing(datasets, num_hosts):
    expected = [make_loader(datasets, PACKED).batch(step) for step in range(10)]
    before = [make_loader(datasets, PACKED, host=h, num_hosts=num_hosts).iterate() for h in range(num_hosts)]
    after = [
        make_loader(datasets, PACKED, host=h, num_hosts=16 // num_hosts).iterate(6) for h in range(16 // num_hosts)
    ]
    found = [join([next(host) for host in before]) for _ in range(6)]
    found += [join([next(host) for host in after]) for _ in range(4)]
    for one, other in zip(found, expected, strict=True):
        assert_equal(one, other)


@pytest.mark.parametrize("step", [-1, 2**40])
def test_a_step_outside_a_run_is_refused(datasets, step):
    loader = make_loader(datasets)
    for read in (loader.batch, loader.iterate, loader.describe, loader.epochs_at):
        with pytest.raises(InputError, match=rf"`step`: expected 0\.\.\d+, got {step}"):
            read(step)


def test_a_batch_does_not_depend_on_what_was_read_before(datasets):
    loader = make_loader(datasets)
    late = loader.batch(10**8)
    loader.batch(3)
    assert_equal(loader.batch(10**8), late)
    assert_equal(make_loader(datasets).batch(10**8), late)


def test_windows_agree_with_plain_numpy(datasets):
    """Every row is exactly the window of the stream that the loader says it is."""
    loader = make_loader(datasets)
    streams = {name: np.concatenate([d.ids for d in dataset]) for name, dataset in datasets.items()}
    for step in (0, 5, 30):
        batch = loader.batch(step)
        for row, origin in enumerate(loader.describe(step)):
            assert origin.row == row
            assert loader.corpora[batch.corpus[row]] == origin.corpus
            window = streams[origin.corpus][24 * origin.index : 24 * (origin.index + 1)]
            assert np.array_equal(batch.tokens[row], window)
            assert batch.positions[row].tolist() == list(range(24))
            ends = np.cumsum(window == datasets["a"].vocabulary.end_of_text)
            assert batch.segment_ids[row].tolist() == [1, *(1 + ends[:-1])]
            assert batch.loss_mask[row].tolist() == [True] * 23 + [False]


def origins_of(loader, corpus, num_steps):
    return [o for step in range(num_steps) for o in loader.describe(step) if o.corpus == corpus]


@pytest.mark.parametrize("packing", PACKINGS, ids=lambda packing: packing.kind)
@pytest.mark.parametrize("reshuffle", [True, False])
def test_every_epoch_reads_every_row_once(datasets, packing, reshuffle):
    mixture = Mixture("m", (Stage(0, {"a": 1, "b": 2}),), block_size=12, reshuffle_each_epoch=reshuffle)
    loader = make_loader(datasets, packing, mixture)
    by_epoch = {}
    for origin in origins_of(loader, "b", 40):
        by_epoch.setdefault(origin.epoch, []).append(origin.index)
    num_rows = len(by_epoch[0])
    assert num_rows > 8
    assert sorted(by_epoch[0]) == sorted(by_epoch[1]) == list(range(num_rows))
    assert (by_epoch[0] == by_epoch[1]) == (not reshuffle)
    assert loader.epochs_at(40)["b"] == pytest.approx(sum(map(len, by_epoch.values())) / num_rows)


def test_no_token_is_lost_or_doubled_in_an_epoch_of_packed_rows(datasets):
    mixture = Mixture("m", (Stage(0, {"b": 1}),), block_size=8)
    loader = make_loader(datasets, PACKED, mixture, batch_size=1)
    num_rows = round(1 / loader.epochs_at(1)["b"])
    rows = [loader.batch(step) for step in range(num_rows)]
    tokens = np.concatenate([row.tokens[row.segment_ids > 0] for row in rows])
    expected = np.concatenate([d.ids for d in datasets["b"]])
    assert np.array_equal(np.sort(tokens), np.sort(expected))


def test_corpora_share_batches_as_the_mixture_says(datasets):
    loader = make_loader(datasets)
    assert loader.corpora == ("a", "b", "c")
    counts = np.bincount(np.concatenate([loader.batch(step).corpus for step in range(4)]), minlength=3)
    assert counts.tolist() == [19, 13, 0]
    counts = np.bincount(np.concatenate([loader.batch(step).corpus for step in range(7, 11)]), minlength=3)
    assert counts.tolist() == [6, 0, 26]


def test_rows_are_called_by_their_documents(datasets):
    for origin in make_loader(datasets).describe(2):
        assert origin.documents
        assert all(name.startswith(f"{origin.corpus}-") for name in origin.documents)


def test_seeds_and_corpora_have_orders_of_their_own(datasets):
    same = make_loader(datasets).batch(0), make_loader(datasets).batch(0)
    assert_equal(*same)
    assert not np.array_equal(make_loader(datasets, seed=6).batch(0).tokens, same[0].tokens)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 6, "num_hosts": 4}, "`batch_size`: expected a multiple of 4 hosts, got 6"),
        ({"batch_size": 0}, "`batch_size`"),
        ({"host": 2, "num_hosts": 2}, r"`host`: expected 0\.\.1, got 2"),
        ({"seq_len": 1}, "`seq_len`"),
        ({"seq_len": 10**6}, "expected at least 1000000 tokens to fill a row"),
        ({"mixture": Mixture.constant("m", {"aa": 1})}, r"corpus `aa` is not among the data; did you mean a\?"),
    ],
)
def test_what_cannot_be_loaded_is_refused(datasets, options, message):
    with pytest.raises(InputError, match=message):
        make_loader(datasets, **options)


def test_two_vocabularies_are_refused(tmp_path, datasets, vocabulary, make_documents, write_dataset):
    other = dataclasses.replace(vocabulary, codec_id="another")
    mixed = {**datasets, "b": write_dataset(tmp_path / "b", make_documents([50]), vocabulary=other)}
    with pytest.raises(InputError, match="vocabularies differ"):
        make_loader(mixed)


def test_damage_reaches_the_reader_of_batches_with_file_and_record(tmp_path, make_documents, write_dataset):
    dataset = write_dataset(tmp_path / "a", make_documents([30]))
    file = tmp_path / "a" / "shard-00000.arrayrecord"
    content = bytearray(file.read_bytes())
    content[content.index(b"ATOK") + 20] ^= 1
    file.write_bytes(bytes(content))
    loader = make_loader({"a": dataset}, mixture=Mixture.constant("m", {"a": 1}))
    with pytest.raises(InputError, match=r"shard-00000\.arrayrecord`, record 0"):
        next(loader.iterate())


def test_batches_are_told_apart_by_identity(datasets):
    """Arrays have no truth value, so that batches are neither compared nor hashed by them."""
    one, other = (make_loader(datasets).batch(0) for _ in range(2))
    assert len({one, other}) == 2
    assert one != other
