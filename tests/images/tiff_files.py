"""TIFFs for tests: of kinds that Pillow does not write, and damaged ones."""

import struct

from PIL import TiffTags

SHORT, LONG = 3, 4


def patched(data, **values):
    """A little-endian TIFF with other numbers in its first directory, by the names that Pillow gives the tags."""
    tags = {next(tag for tag, info in TiffTags.TAGS_V2.items() if info.name == name): v for name, v in values.items()}
    patched_data = bytearray(data)
    (directory,) = struct.unpack_from("<I", data, 4)
    for entry in range(struct.unpack_from("<H", data, directory)[0]):
        place = directory + 2 + 12 * entry
        (tag,) = struct.unpack_from("<H", data, place)
        if tag in tags:
            struct.pack_into("<HHII", patched_data, place, tag, LONG, 1, tags.pop(tag))
    assert not tags, "the file has no such tag"
    return bytes(patched_data)


def tiff(width, height, pixels, *, order="<", **tags):
    """A TIFF of one strip (or, with tag 322, one tile). `tags` are t259=... and so on; tuples are written as shorts."""
    values = {256: width, 257: height, 258: 8, 259: 1, 262: 1, 277: 1}
    values |= {278: height, 273: None, 279: len(pixels)} if "t322" not in tags else {324: None, 325: len(pixels)}
    values |= {int(name[1:]): value for name, value in tags.items()}
    shorts = {tag: struct.pack(f"{order}{len(v)}H", *v) for tag, v in sorted(values.items()) if isinstance(v, tuple)}
    place = after = 8 + 2 + 12 * len(values) + 4
    beside = b"".join(packed for packed in shorts.values() if len(packed) > 4)
    entries = b""
    for tag, value in sorted(values.items()):
        if tag not in shorts:
            number = after + len(beside) if value is None else value
            entries += struct.pack(f"{order}HHII", tag, LONG, 1, number)
        elif len(shorts[tag]) <= 4:
            entries += struct.pack(f"{order}HHI4s", tag, SHORT, len(value), shorts[tag])
        else:
            entries += struct.pack(f"{order}HHII", tag, SHORT, len(value), place)
            place += len(shorts[tag])
    magic = b"II*\0" if order == "<" else b"MM\0*"
    return magic + struct.pack(f"{order}IH", 8, len(values)) + entries + bytes(4) + beside + pixels
