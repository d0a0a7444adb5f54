import contextlib
import pathlib
import struct
import zipfile

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

from beam_curator.errors import CurationError
from beam_curator.models.weights import saved_model
from beam_curator.models.weights.saved_model import parse_constants, parse_variables, read_saved_model
from beam_curator.models.weights.saved_model_wire import SavedModelError
from tests.examples import examples

SHARED = pathlib.Path(__file__).resolve().parents[3] / "shared"
ZIP = SHARED / "models/clip_autokeras_binary_nsfw.zip"
needs_shared = pytest.mark.skipif(not ZIP.exists(), reason=f"the published SavedModel is not in {SHARED}")

FLOAT, STRING, INT64 = 1, 7, 9


# A writer of the same formats, just large enough for these tests.


def varint(number):
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def field(number, value):
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def shape_proto(shape):
    return b"".join(field(2, field(1, size)) for size in shape)


def entry(shape, offset, size, dtype=FLOAT, shard=0):
    return field(1, dtype) + field(2, shape_proto(shape)) + field(3, shard) + field(4, offset) + field(5, size)


def block(entries):
    out, previous = b"", b""
    for key, value in entries:
        shared = next((i for i, (a, b) in enumerate(zip(key, previous, strict=False)) if a != b), 0)
        out += varint(shared) + varint(len(key) - shared) + varint(len(value)) + key[shared:] + value
        previous = key
    return out + struct.pack("<II", 0, 1)


def table(entries, blocks=1):
    body, handles, per_block = b"", [], -(-len(entries) // blocks)
    for start in range(0, len(entries), per_block):
        part = block(entries[start : start + per_block])
        handles.append((entries[start][0], varint(len(body)) + varint(len(part))))
        body += part + b"\0" + b"crc!"
    index = block(handles)
    footer = varint(0) + varint(0) + varint(len(body)) + varint(len(index))
    return body + index + b"\0crc!" + footer.ljust(40, b"\0") + struct.pack("<Q", 0xDB4775248B80FB57)


HEADER = (b"", field(1, 1) + field(2, 0))


def constant(name, dtype, shape, *values, content=b"", op=b"Const"):
    tensor = field(1, dtype) + field(2, shape_proto(shape)) + field(4, content)
    tensor += b"".join(field(8, value) for value in values)
    return field(1, name) + field(2, op) + field(5, field(1, b"value") + field(2, field(8, tensor)))


def graph(*nodes):
    return field(2, field(2, b"".join(field(1, node) for node in nodes)))


def test_variables_are_read_from_tables_of_several_blocks_with_shared_prefixes():
    data = np.arange(10, dtype="<f4").tobytes()
    entries = [HEADER, (b"layer/bias", entry([4], 24, 16)), (b"layer/kernel", entry([2, 3], 0, 24))]
    entries += [(b"layer/steps", entry([], 0, 8, dtype=INT64))]

    for blocks in (1, 2, 4):
        variables = parse_variables(table(entries, blocks), data)

        assert set(variables) == {"layer/bias", "layer/kernel"}
        np.testing.assert_array_equal(variables["layer/bias"], [6, 7, 8, 9])
        np.testing.assert_array_equal(variables["layer/kernel"], [[0, 1, 2], [3, 4, 5]])


@pytest.mark.parametrize(
    "value",
    [
        entry([4], 28, 16),  # ends beyond the data
        entry([4], 0, 12),  # size and shape disagree
        entry([1 << 40, 1 << 40], 0, 16),  # a product that no memory holds
        entry([4], 1 << 60, 16),
        entry([4], 0, 16, shard=1),
        entry([0], 0, 0),
        entry([1] * 5, 0, 4),
    ],
)
def test_a_variable_that_does_not_fit_the_data_is_refused(value):
    with pytest.raises(SavedModelError, match=r"variable|shape"):
        parse_variables(table([HEADER, (b"v", value)]), bytes(40))


@pytest.mark.parametrize("header", [field(1, 2), field(1, 1) + field(2, 1)])
def test_several_shards_and_big_endian_checkpoints_are_refused(header):
    with pytest.raises(SavedModelError, match="one little-endian shard"):
        parse_variables(table([(b"", header)]), b"")


def test_a_table_that_repeats_its_blocks_without_end_is_refused():
    many = [(b"%d" % i, entry([1], 0, 4)) for i in range(saved_model.MAX_VARIABLES + 1)]

    with pytest.raises(SavedModelError, match="more than 4096 entries"):
        parse_variables(table([HEADER, *many]), bytes(4))


def test_constants_are_read_by_name_and_only_from_constant_nodes():
    content = graph(
        constant(b"words", STRING, [2], b"0.5", b"1.5"),
        constant(b"numbers", INT64, [2], content=struct.pack("<qq", 7, 8)),
        constant(b"other", STRING, [1], b"x", op=b"Placeholder"),
        constant(b"scalar", STRING, [], b"x"),
    )

    strings, integers = parse_constants(content)

    assert strings == {"words": [b"0.5", b"1.5"]}
    assert {name: values.tolist() for name, values in integers.items()} == {"numbers": [7, 8]}


@pytest.mark.parametrize(
    "content",
    [
        b"\x12",  # a tag, and nothing after it
        b"\x12\x7f",  # a length beyond the end
        b"\xff" * 11,  # a number without end
        b"\x13",  # a wire type that no longer exists
        field(2, 5),  # a number where a message belongs
        graph(constant(b"words", STRING, [3], b"only one")),
        graph(constant(b"words", STRING, [1 << 62], b"only one")),
        graph(constant(b"words", STRING, [1 << 17], *[b"w"] * (1 << 17))),
    ],
)
def test_a_damaged_graph_is_refused(content):
    with pytest.raises(SavedModelError):
        parse_constants(content)


mutations = st.lists(
    st.one_of(
        st.tuples(st.just("set"), st.integers(0, 2000), st.integers(0, 255)),
        st.tuples(st.just("cut"), st.integers(0, 2000), st.integers(1, 50)),
        st.tuples(st.just("add"), st.integers(0, 2000), st.binary(min_size=1, max_size=20)),
    ),
    min_size=1,
    max_size=5,
)


def mutated(content, changes):
    out = bytearray(content)
    for what, where, how in changes:
        at = where % len(out) if out else 0
        if what == "set":
            out[at : at + 1] = bytes([how])
        elif what == "cut":
            del out[at : at + how]
        else:
            out[at:at] = how
    return bytes(out)


@examples(300)
@hypothesis.given(mutations)
def test_a_mutated_index_loads_or_is_refused_and_never_anything_else(changes):
    entries = [HEADER, *((b"layer-%d/kernel" % i, entry([2, 3], 24 * i, 24)) for i in range(8))]

    try:
        variables = parse_variables(mutated(table(entries, 2), changes), bytes(192))
    except CurationError:
        return
    assert all(array.dtype == np.float32 and array.nbytes <= 192 for array in variables.values())


@examples(300)
@hypothesis.given(mutations)
def test_a_mutated_graph_loads_or_is_refused_and_never_anything_else(changes):
    numbers = struct.pack("<qq", 1, 2)
    nodes = [constant(b"w", STRING, [2], b"0.5", b"1.5"), constant(b"n", INT64, [2], content=numbers)]

    with contextlib.suppress(CurationError):
        parse_constants(mutated(graph(*nodes, *nodes), changes))


@examples(200)
@hypothesis.given(st.binary(max_size=200))
def test_arbitrary_bytes_load_or_are_refused(content):
    for parse in (parse_constants, lambda index: parse_variables(index, b"")):
        with contextlib.suppress(CurationError):
            parse(content)


@needs_shared
@examples(150)
@hypothesis.given(mutations)
def test_a_mutated_index_of_the_published_model_loads_or_is_refused(changes):
    with zipfile.ZipFile(ZIP) as archive:
        folder = "clip_autokeras_binary_nsfw/variables/"
        index, data = (archive.read(folder + n) for n in ("variables.index", "variables.data-00000-of-00001"))

    try:
        variables = parse_variables(mutated(index, changes), data)
    except CurationError:
        return
    assert all(array.nbytes <= len(data) for array in variables.values())


def write_zip(path, members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


GOOD = {
    "m/saved_model.pb": graph(constant(b"words", STRING, [1], b"0.5")),
    "m/variables/variables.index": table([HEADER, (b"v", entry([1], 0, 4))]),
    "m/variables/variables.data-00000-of-00001": struct.pack("<f", 2.5),
}


def test_a_zip_is_read_whichever_folder_holds_the_model(tmp_path):
    for prefix in ("m/", "", "a/b/"):
        path = write_zip(tmp_path / "m.zip", {prefix + name[2:]: content for name, content in GOOD.items()})

        model = read_saved_model(path)

        assert model.variables["v"].tolist() == [2.5]
        assert model.strings == {"words": [b"0.5"]}


@pytest.mark.parametrize("missing", list(GOOD))
def test_a_zip_without_one_of_the_files_is_refused_with_its_name(tmp_path, missing):
    path = write_zip(tmp_path / "m.zip", {name: content for name, content in GOOD.items() if name != missing})

    with pytest.raises(CurationError, match=rf"m\.zip: 0 members named {missing[2:]}"):
        read_saved_model(path)


def test_a_zip_bomb_is_refused_before_it_is_unpacked(tmp_path):
    bomb = bytes(saved_model.MAX_MEMBER_BYTES + 1)
    path = write_zip(tmp_path / "m.zip", {**GOOD, "m/saved_model.pb": bomb})

    with pytest.raises(CurationError, match="more than 16777216"):
        read_saved_model(path)


def test_a_zip_whose_directory_lies_about_a_size_is_refused(tmp_path):
    bomb = bytes(1 << 20)
    path = write_zip(tmp_path / "m.zip", {**GOOD, "m/saved_model.pb": bomb})
    content = path.read_bytes()
    path.write_bytes(content.replace(struct.pack("<I", len(bomb)), struct.pack("<I", 100)))

    with pytest.raises(CurationError, match=r"m\.zip"):
        read_saved_model(path)


@pytest.mark.parametrize("damage", [lambda c: b"", lambda c: c[: len(c) // 2], lambda c: c[:60] + b"!!!!" + c[64:]])
def test_a_damaged_zip_is_refused_with_its_path(tmp_path, damage):
    path = write_zip(tmp_path / "m.zip", GOOD)
    path.write_bytes(damage(path.read_bytes()))

    with pytest.raises(CurationError, match=r"m\.zip.*fetch the file again"):
        read_saved_model(path)


def test_a_missing_zip_is_one_clear_error(tmp_path):
    with pytest.raises(CurationError, match="No such file"):
        read_saved_model(tmp_path / "absent.zip")
