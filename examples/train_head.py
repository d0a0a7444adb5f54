"""Trains a small head on the embeddings of a finished output, so that it gives one of its scores.

    python -m examples.train_head --curated curated --score aesthetic --epochs 1 --workers 2

The output's shards are read with webdataset as they are: KEY.clip.npy has the embedding (of an encoder other
than CLIP's it is called otherwise: `--embedding`), KEY.curation.json the scores.
Each epoch has an order of its own, and its samples are shared out among the workers and, under torchrun, the nodes.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import pathlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
import webdataset

from beam_curator.commands import parsing, running
from beam_curator.errors import UsageError

BATCH_SIZE = 16


@dataclasses.dataclass(frozen=True)
class Task:
    """The score that is learned, and what it is learned from.

    Attributes:
      shards: of the output.
      embedding: the extension of the member that has it, such as "clip.npy".
      score: the score that the head is to give.
    """

    shards: Sequence[str]
    embedding: str
    score: str


def task_of(curated: pathlib.Path, embedding: str, score: str) -> Task:
    """The task, once the output was looked at.

    Raises:
      UsageError: there is no output shard, no such embedding or no such score.
    """
    shards = sorted(map(str, curated.glob("*.tar")))
    if not shards:
        raise UsageError(f"--curated {curated}: there is no output shard in it")
    sample = next(iter(webdataset.WebDataset(shards[:1], nodesplitter=None, shardshuffle=False)))
    embeddings = [extension.removesuffix(".npy") for extension in sample if extension.endswith(".npy")]
    if embedding not in embeddings:
        raise UsageError(f"--embedding {embedding}: there is no such embedding; there are {', '.join(embeddings)}")
    ledger = pq.read_schema(pathlib.Path(shards[0]).with_suffix(".parquet"))
    numbers = [field.name for field in ledger if pa.types.is_floating(field.type)]
    if score not in numbers:
        raise UsageError(f"--score {score}: there is no such score; there are {', '.join(numbers)}")
    return Task(shards, f"{embedding}.npy", score)


def examples(task: Task, epoch: int) -> webdataset.WebDataset:
    """The pipeline of one epoch: (embedding float32 [dim], score float32 [1]) of each sample that has the score."""
    pipeline = webdataset.WebDataset(
        list(task.shards),
        nodesplitter=webdataset.split_by_node,
        shardshuffle=len(task.shards),
        seed=epoch,  # the same for all workers and nodes: each takes its share of the same shards
        empty_check=False,  # with fewer shards than workers, some have nothing to do
    )
    # Only these: webdataset would unpickle a member that is called KEY.pkl.
    decoded = pipeline.decode(only=[task.embedding, "curation.json"])
    scored = decoded.select(functools.partial(has_score, task))
    return scored.map(functools.partial(as_tensors, task)).shuffle(1000, seed=epoch)


def has_score(task: Task, sample: Mapping[str, Any]) -> bool:
    """Tells whether there is a value."""
    return sample["curation.json"]["scores"][task.score] is not None


def as_tensors(task: Task, sample: Mapping[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
    """Gives what the head takes, and what it should give."""
    value = sample["curation.json"]["scores"][task.score]
    return torch.from_numpy(sample[task.embedding].astype(np.float32)), torch.tensor([value])


def train(task: Task, epochs: int, workers: int) -> Iterator[tuple[int, float]]:
    """Trains the head; yields of each epoch the number of samples and the mean squared error on them."""
    torch.manual_seed(0)
    head = torch.nn.Sequential(torch.nn.LazyLinear(64), torch.nn.ReLU(), torch.nn.Linear(64, 1))
    optimizer = None
    for epoch in range(epochs):
        batches = examples(task, epoch).batched(BATCH_SIZE)
        samples, squared_error = 0, 0.0
        for embeddings, scores in torch.utils.data.DataLoader(batches, batch_size=None, num_workers=workers):
            loss = torch.nn.functional.mse_loss(head(embeddings), scores)
            optimizer = optimizer or torch.optim.Adam(head.parameters(), lr=0.01)  # LazyLinear knows its width by now
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            samples, squared_error = samples + len(scores), squared_error + loss.item() * len(scores)
        if not samples:
            raise UsageError(f"--score {task.score}: not one sample has a value")
        yield samples, squared_error / samples


def run(argv: Sequence[str]) -> int:
    """Parses, checks and runs; gives the exit code."""
    parser = parsing.Parser(prog="train_head", description=__doc__, allow_abbrev=False)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--curated", required=True, metavar="DIR", type=pathlib.Path, help="output of a finished job")
    parser.add_argument("--embedding", default="clip", metavar="NAME", help="what it learns from [%(default)s]")
    parser.add_argument("--score", default="aesthetic", metavar="NAME", help="what the head learns [%(default)s]")
    parser.add_argument("--epochs", default=1, metavar="N", type=int, help="how often all samples come [%(default)s]")
    parser.add_argument("--workers", default=0, metavar="N", type=int, help="processes that read shards [%(default)s]")
    flags = parser.parse_args(list(argv))
    task = task_of(flags.curated, flags.embedding, flags.score)
    for epoch, (samples, loss) in enumerate(train(task, flags.epochs, flags.workers), 1):
        print(f"epoch {epoch}: {samples} samples, mean squared error {loss:.4f}")
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """The command; exit code 0, 1 for a failed job, 2 for bad usage."""
    return running.exit_code("train_head", run, argv)


if __name__ == "__main__":
    sys.exit(main())
