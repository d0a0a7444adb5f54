"""Spoils a copy of a job's output in one way at a time."""

import dataclasses
import io
import json
import tarfile

import pyarrow as pa
import pyarrow.parquet as pq


@dataclasses.dataclass
class TarMember:
    name: str
    data: bytes
    type: bytes = tarfile.REGTYPE


def change_json(path, change):
    """Rewrites a JSON file after `change` has changed what it holds."""
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))


def change_rows(path, change):
    """Rewrites a Parquet file with the rows that `change` makes of its rows."""
    table = pq.read_table(path)
    rows = table.to_pylist()
    pq.write_table(pa.Table.from_pylist(change(rows) or rows, table.schema), path)


def change_tar(path, change):
    """Rewrites a tar, as the job writes it, with the members that `change` makes of its members."""
    with tarfile.open(path) as tar:
        members = [TarMember(member.name, tar.extractfile(member).read()) for member in tar]
    members = change(members) or members
    with path.open("wb") as file, tarfile.open(fileobj=file, mode="w|", format=tarfile.PAX_FORMAT) as tar:
        for member in members:
            info = tarfile.TarInfo(member.name)
            info.type, info.size = member.type, len(member.data)
            tar.addfile(info, io.BytesIO(member.data))


def flip_byte(path, member_name):
    """Changes one bit in the middle of a member's data, and nothing else."""
    with tarfile.open(path) as tar:
        member = next(member for member in tar if member.name.endswith(member_name))
        assert member.size > 0
    data = bytearray(path.read_bytes())
    data[member.offset_data + member.size // 2] ^= 1
    path.write_bytes(data)
    return member.name
