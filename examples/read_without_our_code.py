"""Read a dataset of this project with array_record and numpy alone; docs/formats.md describes the files.

uv run python examples/read_without_our_code.py DATASET
"""

import json
import struct
import sys
from pathlib import Path

import numpy as np
from array_record.python.array_record_module import ArrayRecordReader

HEADER = struct.Struct("<4sBBHII")  # magic, version, flags, zero, number of tokens, bytes of metadata
HIGH_PLANE, LOSS_MASK = 1, 2


def decode(record: bytes) -> tuple[np.ndarray, np.ndarray | None, dict]:
    """Token ids, loss mask (None: every token counts) and metadata of one document."""
    magic, version, flags, _, num_tokens, num_metadata_bytes = HEADER.unpack_from(record)
    assert (magic, version) == (b"ATOK", 1)
    place = HEADER.size
    ids = np.frombuffer(record, "<u2", num_tokens, place).astype(np.int32)
    place += 2 * num_tokens
    if flags & HIGH_PLANE:
        ids += np.frombuffer(record, np.uint8, num_tokens, place).astype(np.int32) << 16
        place += num_tokens
    mask = None
    if flags & LOSS_MASK:
        packed = np.frombuffer(record, np.uint8, -(-num_tokens // 8), place)
        mask = np.unpackbits(packed, count=num_tokens).astype(bool)
    return ids, mask, json.loads(record[len(record) - num_metadata_bytes :] or b"{}")


folder = Path(sys.argv[1])
manifest = json.loads((folder / "manifest.json").read_text())
counted = 0
for shard in sorted(folder.glob("shard-*.arrayrecord")):
    reader = ArrayRecordReader(str(shard))
    for record in reader.read_all():
        ids, _, metadata = decode(record)
        counted += len(ids)
    reader.close()
print(f"{counted} tokens; the manifest states {sum(shard['num_tokens'] for shard in manifest['shards'])}")
print(f"last document: {metadata['id']}, {len(ids)} ids from {ids[0]} to {ids[-1]}")
