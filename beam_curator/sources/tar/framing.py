"""Lays out all of a tar's members but the large data in them at once: headers, small data and padding.

Two members, the second of them with large data, of which k whole blocks have no place here:

    in the tar   | header | data, padding | header | block 1 ... block k | end, padding |
    in `content` | header | data, padding | header |                     | end, padding |
                          ^               ^        ^                                    ^
                 data_at[0]          end[0]        data_at[1], left_out[1] = 512 k      end[1]

A header takes one block of 512 bytes, or several where a name is long or odd. All is counted in blocks first.
"""

from __future__ import annotations

import dataclasses
import tarfile
from collections.abc import Sequence

import numpy as np

from beam_curator.sources.tar.plain_headers import member_headers

_BLOCK = tarfile.BLOCKSIZE


@dataclasses.dataclass(frozen=True)
class Frame:
    """n members as they stand one after the other in a tar, without the whole blocks of large data.

    Attributes:
      content: uint8 [bytes]: headers and padding are there, data is still to be put in.
      data_at: int64 [n], where in `content` each member's data is to be put or, for large data, where its whole blocks
        belong, and what is left of it is to be put.
      left_out: int64 [n], so many bytes at the beginning of each member's data have no place in `content`.
      end: int64 [n], where in `content` each member ends.
    """

    content: np.ndarray
    data_at: np.ndarray
    left_out: np.ndarray
    end: np.ndarray

    def put(self, members: np.ndarray, files: Sequence[bytes]) -> None:
        """Puts in all of the data of these members (int64 [k]), of which nothing is left out."""
        content = self.content.data
        for place, file in zip(self.data_at[members].tolist(), files, strict=True):
            content[place : place + len(file)] = file

    def put_rows(self, members: np.ndarray, files: np.ndarray) -> None:
        """Puts data as `put` does, where all has the same length: uint8 [k, bytes]."""
        length = -(-files.shape[1] // _BLOCK) * _BLOCK
        padded = np.zeros((len(files), length), np.uint8)
        padded[:, : files.shape[1]] = files
        blocks = self.data_at[members, None] // _BLOCK + np.arange(length // _BLOCK)
        self.content.reshape(-1, _BLOCK)[blocks] = padded.reshape(len(files), -1, _BLOCK)


def framed(names: Sequence[bytes], sizes: np.ndarray, large: np.ndarray) -> Frame:
    """The frame of members without dates or owners, in the bytes that `tarfile` writes in PAX format.

    Args:
      names: n names, in the bytes that the tar is to have.
      sizes: int64 [n], the length of each one's data.
      large: bool [n], whose whole blocks are left out.
    """
    headers, odd = member_headers(names, sizes)
    header_blocks = np.ones(len(sizes), np.int64)
    for index, header in odd.items():
        header_blocks[index] = len(header) // _BLOCK
    left_out = np.where(large, sizes // _BLOCK, 0)  # like all below, blocks
    data_blocks = -(-sizes // _BLOCK)
    taken = header_blocks + data_blocks - left_out
    end = np.cumsum(taken)
    first = end - taken
    blocks = np.zeros((int(end[-1]) if len(end) else 0, _BLOCK), np.uint8)
    blocks[first] = headers
    for index, header in odd.items():
        blocks[first[index] : first[index] + header_blocks[index]] = np.frombuffer(header, np.uint8).reshape(-1, _BLOCK)
    return Frame(blocks.reshape(-1), (first + header_blocks) * _BLOCK, left_out * _BLOCK, end * _BLOCK)
