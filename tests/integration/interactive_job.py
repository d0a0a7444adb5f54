"""What one does in a notebook: run by `test_interactive` in a process of its own."""

import sys

import apache_beam as beam
from apache_beam.runners.interactive import interactive_beam as ib
from apache_beam.runners.interactive.interactive_runner import InteractiveRunner

import beam_curator as bc

pipeline = beam.Pipeline(InteractiveRunner())
batches = pipeline | bc.ReadSamples(sys.argv[1])
selected = (
    batches
    | bc.EmbedImages(bc.ClipModelHandler("tiny-untrained"))
    | bc.ScoreAesthetic("untrained")
    | bc.Select(bc.AtLeast("aesthetic", 5))
)
samples = selected | bc.ExplodeSamples()
rows = selected | "Rows" >> bc.ExplodeSamples(as_rows=True)
ib.watch(locals())
for name, collection in {"batches": batches, "selected": selected, "samples": samples}.items():
    print("collected", name, len(ib.collect(collection)))
for status, count in ib.collect(rows).groupby("status").size().items():
    print("collected", status, count)
ib.show(rows)
print("shown")
