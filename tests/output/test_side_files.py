"""What other tools read beside the tars: sizes, the dataset card, and indices that others made."""

import json
import os

import pytest

from beam_curator.errors import JobError
from beam_curator.output import side_files
from beam_curator.output.dataset_card import dataset_card
from beam_curator.output.side_files import check_side_files, notes_on, sizes_of, stale_side_files, write_side_files

MANIFEST = {
    "software": {"beam-curator": "1.0"},
    "counts": {
        "seen": 1500,
        "kept": 2,
        "dropped_by_rule": {"width < 64": 1497},
        "failed_by_reason": {"a | b": 1},
    },
    "models": {"embedding": {"name": "ViT", "sha256": "ab", "trained": True, "notes": ["QuickGELU"]}},
}
MEMBERS = {"clip.npy": 2, "curation.json": 2, "input.clip.npy": 1, "jpg": 1, "json": 2, "seg.png": 1, "txt": 1, "x": 1}


def test_sizes_are_by_the_names_of_the_tars():
    assert json.loads(sizes_of({1: 7, 0: 20, 100_000: 1})) == {"00000.tar": 20, "00001.tar": 7, "100000.tar": 1}


def test_the_card_says_where_the_data_is_and_of_which_types():
    card = dataset_card(MANIFEST, MEMBERS, "clip.npy")
    front = card.split("---\n")[1]
    assert 'data_files: "[0-9]*.tar"' in front
    types = {"seg.png": "dtype: image", "jpg": "dtype: image", "json": "dtype: json", "curation.json": "dtype: json"}
    types |= {"clip.npy": "sequence: float16", "x": "dtype: binary", "txt": "dtype: string", "__key__": "dtype: string"}
    for name, told in types.items():
        assert f'  - name: "{name}"\n    {told}\n' in front
    assert "input.clip.npy" not in front
    assert "| embedding | ViT (QuickGELU) | ab |" in card
    assert "| failed: a \\| b | 1 |" in card
    assert dataset_card(MANIFEST, MEMBERS, "clip.npy") == card
    assert 'data_files: "samples/*.parquet"' in dataset_card(MANIFEST, {}, "clip.npy")


def test_a_card_of_the_users_own_stays_and_ours_is_written_anew(tmp_path):
    write_side_files(str(tmp_path), b"{}", f"first {side_files.CARD_MARK}")
    write_side_files(str(tmp_path), b"{}", f"second {side_files.CARD_MARK}")
    assert (tmp_path / "README.md").read_text().startswith("second")
    (tmp_path / "README.md").write_text("my own words")
    write_side_files(str(tmp_path), b"{}", f"third {side_files.CARD_MARK}")
    assert (tmp_path / "README.md").read_text() == "my own words"
    side_files.remove_side_files(str(tmp_path))
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["README.md"]


def test_sizes_of_something_else_are_not_overwritten(tmp_path):
    (tmp_path / "sizes.json").write_text('{"cats": 3}')
    with pytest.raises(JobError, match=r"sizes\.json stands where the sizes of output shards go"):
        check_side_files(str(tmp_path))
    side_files.remove_side_files(str(tmp_path))
    assert (tmp_path / "sizes.json").exists()


def test_indices_of_others_that_are_older_than_the_selection_are_named(tmp_path):
    (tmp_path / ".nv-meta").mkdir()
    names = ["manifest.json", "00000.tar", "00000.tar.idx", "00001.idx", ".nv-meta/index.sqlite", "mine.txt"]
    for name in names:
        (tmp_path / name).write_text("x")
        os.utime(tmp_path / name, (1000, 2000 if name in ("manifest.json", "00001.idx") else 1000))
    stale = stale_side_files(str(tmp_path), "manifest.json")
    assert stale == [".nv-meta", "00000.tar.idx"]
    (told,) = notes_on(stale)
    assert told.startswith(".nv-meta, 00000.tar.idx: another tool made this of an earlier selection")
    assert notes_on([]) == []
