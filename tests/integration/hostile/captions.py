"""Captions that puzzle whoever reads them."""

import json

from tests.integration.hostile.parts import Hostile, jpeg, kept
from tests.tars import tar_bytes

CAPTIONS = {
    "not-utf8": ({"txt": b"caf\xe9 \xff"}, "caf\ufffd \ufffd"),
    "nul": ({"txt": b"a\0b"}, "a\0b"),
    "long": ({"txt": b"x" * 100_000}, "x" * 65_536),
    "broken-json": ({"json": b'{"caption": "a"'}, None),
    "json-of-noise": ({"json": bytes(range(256))}, None),
    "deep-json": ({"json": b"[" * 200_000}, None),
    "deep-json-caption": ({"json": b'{"caption": ' + b'{"a":' * 50_000 + b"1" + b"}" * 50_000 + b"}"}, None),
    "json-of-a-list": ({"json": b'["caption"]'}, "caption"),
    "json-of-a-number": ({"json": b"9" * 100_000}, None),
    "json-caption-is-a-number": ({"json": b'{"caption": 7}'}, None),
    "json-lone-surrogate": ({"json": b'{"caption": "\\ud800"}'}, "?"),
    "json-utf16": ({"json": json.dumps({"caption": "wide"}).encode("utf-16")}, "wide"),
    "json-long": ({"json": json.dumps({"caption": "y" * 100_000}).encode()}, "y" * 65_536),
    "json-bomb": ({"json": b'{"caption": "c", "a": [' + b"{}," * 3_000_000 + b"{}]}"}, None),
    "json-twice": ({"json": b'{"caption": "first", "caption": "second"}'}, "second"),
    "txt-before-json": ({"json": b'{"caption": "json"}', "txt": b""}, "json"),
}
"""Members beside an image, and the caption that the ledger is to have."""


def caption_shards():
    entries = []
    for name, (beside, _) in CAPTIONS.items():
        entries += [(f"{name}.jpg", jpeg()), *((f"{name}.{extension}", data) for extension, data in beside.items())]
    return {"captions": Hostile(tar_bytes(entries), kept(*CAPTIONS))}
