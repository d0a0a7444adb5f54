"""Near copies of pictures as other packages find them. Runs in an environment of its own, started by
`benchmarks.duplicate_peers`.

python picture_duplicates.py imagededup|cleanvision DIRECTORY

It prints JSON: `pairs` of names that are taken for copies, `dropped` names, and `seconds` without imports.
"""

import contextlib
import itertools
import json
import sys
import time
from pathlib import Path
from typing import Any


def imagededup(directory: Path) -> dict[str, Any]:
    """Its PHash with its own threshold, 10 of 64 bits, and what its own rule removes."""
    from imagededup.methods import PHash

    begun = time.perf_counter()
    hasher = PHash(verbose=False)
    found = hasher.find_duplicates(image_dir=str(directory))
    dropped = hasher.find_duplicates_to_remove(image_dir=str(directory))
    seconds = time.perf_counter() - begun
    pairs = {tuple(sorted((name, other))) for name, others in found.items() for other in others}
    return {"pairs": sorted(pairs), "dropped": sorted(dropped), "seconds": seconds}


def cleanvision(directory: Path) -> dict[str, Any]:
    """Its sets of exact and near duplicates, all but the first of each of which go."""
    from cleanvision import Imagelab

    begun = time.perf_counter()
    lab = Imagelab(data_path=str(directory))
    lab.find_issues({"exact_duplicates": {}, "near_duplicates": {}}, n_jobs=1, verbose=False)
    seconds = time.perf_counter() - begun
    sets = [lab.info[kind]["sets"] for kind in ("exact_duplicates", "near_duplicates")]
    named = [sorted(Path(path).name for path in one) for one in itertools.chain(*sets)]
    pairs = {pair for one in named for pair in itertools.combinations(one, 2)}
    dropped = {name for one in named for name in one[1:]}
    return {"pairs": sorted(pairs), "dropped": sorted(dropped), "seconds": seconds}


if __name__ == "__main__":
    with contextlib.redirect_stdout(sys.stderr):
        result = {"imagededup": imagededup, "cleanvision": cleanvision}[sys.argv[1]](Path(sys.argv[2]))
    print(json.dumps(result))
