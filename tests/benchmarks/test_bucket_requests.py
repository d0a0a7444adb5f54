"""What requests of a job are for, and what one job asks more than another."""

from collections import Counter

import pytest

from benchmarks.requests import Asking, growth, kind_of

AT = "http://127.0.0.1:5000/requests"


@pytest.mark.parametrize(
    ("method", "url", "found"),
    [
        ("GET", f"{AT}/raw/240/00000.tar", ("read", "shards")),
        ("HEAD", f"{AT}/raw/240/00000.parquet", ("read", "what may stand beside shards")),
        ("PUT", f"{AT}/out/scores/a-0-1.parquet", ("write", "scores")),
        ("GET", f"{AT}/out/plans/a.json", ("read", "plans")),
        ("PUT", f"{AT}/out/_tmp/a.arrows.0", ("write", "pieces of the ledger")),
        ("POST", f"{AT}/out/00001.tar?uploads", ("write", "output shards")),
        ("PUT", f"{AT}/out/00001_stats.json", ("write", "output shards")),
        ("PUT", f"{AT}/out/manifest.json", ("write", "of the job")),
        ("DELETE", f"{AT}/out/manifest.json", ("delete", "of the job")),
        ("POST", f"{AT}?delete", ("delete", "many")),
        ("GET", f"{AT}?list-type=2&prefix=out%2F", ("list", "names")),
    ],
)
def test_a_request_is_told_by_its_object(method, url, found):
    assert kind_of(method, url) == found


def test_what_a_larger_job_asks_more_is_told_of_each_range_and_shard_that_it_has_more():
    scores, tars = ("write", "scores"), ("write", "output shards")
    few = Asking({"range": 2, "output shard": 1}, Counter({scores: 2}), Counter({tars: 5}))
    many = Asking({"range": 10, "output shard": 1}, Counter({scores: 18}), Counter({tars: 5}))
    assert growth(few, many) == [
        ["scores", *scores, "2", "18", "2.00", ""],
        ["selects", *tars, "5", "5", "0.00", ""],
    ]
