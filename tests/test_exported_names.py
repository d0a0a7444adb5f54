"""Names of columns where a dot would mean something else."""

import pyarrow as pa

from beam_curator.exports.embeddings import without_dots


def test_names_have_no_dots_and_stay_different():
    names = ["key", "json.url", "json_url", "json.a.b", "json.a_b", "url_domain"]
    found = without_dots(pa.schema([(name, pa.string()) for name in names]))
    assert found.names == ["key", "json_url_", "json_url", "json_a_b", "json_a_b_", "url_domain"]
