"""Finished jobs without images: a ledger and a manifest, made of rows alone."""

import hashlib
import json

import numpy as np
import pyarrow as pa

from beam_curator import rows
from beam_curator.output import ledger
from beam_curator.output.outcomes import reason_kind
from beam_curator.rules.column_rules import AspectRatioAtMost, AtLeast, Below
from beam_curator.rules.judging import judge

RULES = (AtLeast("width", 64), AspectRatioAtMost(3.0), AtLeast("aesthetic", 5.1), Below("nsfw", 0.3))
FLAGS = {"min_width": 64, "max_aspect_ratio": 3.0, "min_aesthetic": 5.1, "max_nsfw": 0.3}


def drawn_rows(count, seed=0, caption="a caption of {}", shard="raw/{}.tar", per_file=500):
    """Tables of `per_file` rows with random facts and scores, some of them failed, without scores."""
    random = np.random.default_rng(seed)
    found = []
    for file, start in enumerate(range(0, count, per_file)):
        n = min(per_file, count - start)
        width, height = random.integers(16, 800, (2, n))
        failed = random.random(n) < 0.02
        url = shard.format(file)
        scores = {"aesthetic": random.normal(5, 1, n), "nsfw": random.beta(0.5, 2, n)}
        dicts = [
            {
                "sample_id": hashlib.sha256(f"{url} {i}".encode()).hexdigest()[:32],
                "shard": url,
                "key": f"k{start + i}",
                "offset": 1024 * i,
                "status": rows.FAILED if failed[i] else rows.KEPT,
                "reason": "not an image that can be decoded: X" if failed[i] else None,
                "same_key": 1,
                "image": "jpg",
                "images": 1,
                "width": None if failed[i] else int(width[i]),
                "height": None if failed[i] else int(height[i]),
                "format": None if failed[i] else ("jpeg", "png")[i % 2],
                "bytes": 1000 + i,
                "sha256": None,
                "phash": None,
                "caption": caption.format(start + i),
                **{name: None if failed[i] else float(values[i]) for name, values in scores.items()},
            }
            for i in range(n)
        ]
        found.append(rows.from_dicts(dicts))
    return found


def write_job(
    output, tables, rules=RULES, flags=FLAGS, change=lambda table: table, carry=lambda table: table, **manifest
):
    """Writes the ledger of these rows as the rules judge them, and the manifest; gives the judged rows."""
    judged, names = [], [rule.name for rule in rules]
    counts = {"seen": 0, "kept": 0, "dropped": 0, "failed": 0, "dropped_by_rule": {}, "failed_by_reason": {}}
    for place, table in enumerate(tables):
        table = change(judge(table, rules)[0])
        nothing = pa.nulls(len(table), pa.string())
        table = carry(ledger.ledger_table(table, nothing, nothing))
        ledger.write_table(str(output), f"samples/part-{place:010x}-00000.parquet", table)
        judged.append(table)
        for status, reason in zip(table["status"].to_pylist(), table["reason"].to_pylist(), strict=True):
            counts["seen"] += 1
            counts[status] += 1
            by = {rows.DROPPED: "dropped_by_rule", rows.FAILED: "failed_by_reason"}.get(status)
            if by:
                kind = reason_kind(status, reason)
                counts[by][kind] = counts[by].get(kind, 0) + 1
    told = {
        "counts": counts,
        "flags": dict(flags),
        "rules": [{"rule": name, "dropped": counts["dropped_by_rule"].get(name, 0), "alone": None} for name in names],
        "models": {},
        "software": {"beam-curator": "0.0"},
        "output": {"shards": 0, "bytes": 0},
        "samples_per_shard": 1000,
        **manifest,
    }
    (output / "manifest.json").write_text(json.dumps(told))
    return pa.concat_tables(judged, promote_options="default")


def kept_by(rules, tables):
    """Counts the rows that these rules keep."""
    return sum(judge(table, rules)[0]["status"].to_pylist().count("kept") for table in tables)
