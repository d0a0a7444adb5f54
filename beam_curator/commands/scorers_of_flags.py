"""The models that the flags ask for: what embeds and what scores; or, where weights cannot be had, what is recorded."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

from beam_curator.commands.named_object import is_named_object, made_object, values_apart
from beam_curator.commands.options import CurationOptions
from beam_curator.commands.scorer_flag import load_scorer
from beam_curator.defaults import NO_MODEL, TIMM
from beam_curator.errors import JobError, UsageError
from beam_curator.identities import ModelIdentity
from beam_curator.models.encoders.encoder import Encoder, check_encoder
from beam_curator.models.encoders.settings import EXACT, FAST, SETTINGS
from beam_curator.models.scorers.caption_measures import CAPTION_MEASURES, COLUMNS, IDENTITY, CaptionMeasures
from beam_curator.models.scorers.heads import AESTHETIC, NSFW, aesthetic_scorer, nsfw_scorer
from beam_curator.models.scorers.image_measures import ImageMeasures
from beam_curator.models.scorers.prompt import Prompt, asked_as, parse_prompt, prompt_scorers
from beam_curator.models.scorers.scorer import (
    TEXT_EMBEDDING,
    Column,
    Needs,
    Scorer,
    Worse,
    check_scorer,
    check_scorers,
)
from beam_curator.models.scorers.similarity import SIMILARITY
from beam_curator.output.job_file import Job
from beam_curator.output.score_steps import ScoreStep
from beam_curator.transforms.checkpointing import Scoring
from beam_curator.transforms.clip_handler import ClipModelHandler
from beam_curator.transforms.scoring import EncoderUnavailable, ScoreRanges, similarity_of, text_embedding_of

ENCODER_FLAGS = ("clip_model", "clip_pretrained", "precision", "compile", "decode")
SCORER_FLAGS = (
    "aesthetic_model",
    "nsfw_model",
    "accept_other_encoder",
    "prompt",
    "image_measures",
    "caption_measures",
    "scorer",
)


@dataclasses.dataclass(frozen=True)
class AskedScorer:
    """A scorer that the flags ask for, before its weights are looked for.

    Attributes:
      name: the scorer's.
      columns: what it gives.
      make: finds its weights, beside what embeds if that can be had; raises UsageError where they cannot be had.
      is_recorded: whether a step of the standing job is this one, as far as can be told without weights.
    """

    name: str
    columns: Sequence[Column]
    make: Callable[[ClipModelHandler | None], Scorer]
    is_recorded: Callable[[Job, ScoreStep], bool]


@dataclasses.dataclass(frozen=True)
class AskedScorers:
    """All scorers that the flags ask for, in the order of their columns."""

    asked: Sequence[AskedScorer]

    @property
    def columns(self) -> list[Column]:
        """The columns of all scorers."""
        return [column for one in self.asked for column in one.columns]


def scorers_of(options: CurationOptions, more: Sequence[Scorer] = ()) -> AskedScorers:
    """The scorers that the flags ask for.

    Args:
      options: the flags.
      more: scorers that a caller in Python gives, after those of the flags.

    Raises:
      UsageError: for one of the user's own that cannot be loaded, or is none.
    """
    asked = []
    heads: tuple[tuple[str, str, Callable[..., Scorer], Worse], ...] = (
        (AESTHETIC, "aesthetic_model", aesthetic_scorer, "lower"),
        (NSFW, "nsfw_model", nsfw_scorer, "higher"),
    )
    for name, flag, make, worse in heads:
        if getattr(options, flag) != NO_MODEL:
            is_recorded = functools.partial(_chosen_by, options, (flag, _ACCEPT))
            asked.append(AskedScorer(name, (Column(name, worse=worse),), _head(options, flag, make), is_recorded))
    asked += _Prompts(options.prompt or ()).asked()
    if options.keep_text_embeddings:
        asked.append(AskedScorer(TEXT_EMBEDDING, (), _text_embedding, _is_recorded_as(TEXT_EMBEDDING)))
    if options.similarity:
        asked.append(AskedScorer(SIMILARITY, (Column(SIMILARITY),), _similarity, _is_recorded_as(SIMILARITY)))
    if options.image_measures:
        asked.append(_as_it_is(ImageMeasures()))
    if options.caption_measures:
        asked.append(
            AskedScorer(
                CAPTION_MEASURES, COLUMNS, lambda *_: CaptionMeasures(), lambda _, step: step.identity == IDENTITY
            )
        )
    for text in options.scorer or ():
        asked.append(_as_it_is(load_scorer(text)))
    for index, scorer in enumerate(more):
        check_scorer(scorer, f"scorers[{index}]")
        asked.append(_as_it_is(scorer))
    check_scorers(asked)
    return AskedScorers(asked)


_ACCEPT = "accept_other_encoder"


def _head(options: CurationOptions, flag: str, make: Callable[..., Scorer]) -> Callable[..., Scorer]:
    return lambda *_: make(getattr(options, flag), options.model_dir, accept_other_encoder=options.accept_other_encoder)


def _chosen_by(options: CurationOptions, flags: Sequence[str], standing: Job, step: ScoreStep) -> bool:
    return _same(options, standing, flags)


def _as_it_is(scorer: Scorer) -> AskedScorer:
    """A scorer that wants no weights from us."""
    return AskedScorer(scorer.name, tuple(scorer.columns), lambda *_: scorer, lambda *_: False)


def _similarity(handler: ClipModelHandler | None) -> Scorer:
    if handler is None:
        raise UsageError("--similarity: the encoder's weights cannot be had, which embed captions as well")
    return similarity_of(handler)


def _text_embedding(handler: ClipModelHandler | None) -> Scorer:
    if handler is None:
        raise UsageError("--keep_text_embeddings: the encoder's weights cannot be had, which embed captions as well")
    try:
        return text_embedding_of(handler)
    except UsageError as error:
        raise UsageError(f"--keep_text_embeddings: {str(error).removeprefix('text embeddings: ')}") from error


def _is_recorded_as(name: str) -> Callable[[Job, ScoreStep], bool]:
    """The encoder is that of the standing job, or its output would be another job's."""
    return lambda _, step: step.identity.name.startswith(f"{name} (")


class _Prompts:
    """The scorers of prompts, made together: the text tower is loaded once at most."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._prompts = [parse_prompt(text) for text in texts]
        self._made: dict[str, Scorer] = {}

    def asked(self) -> list[AskedScorer]:
        """Makes an `AskedScorer` for each prompt."""
        return [
            AskedScorer(one.name, (Column(one.name),), functools.partial(self._make, one), _is_recorded_prompt(one))
            for one in self._prompts
        ]

    def _make(self, prompt: Prompt, handler: ClipModelHandler | None) -> Scorer:
        if handler is None:
            raise UsageError(f"--prompt {prompt.name}: the encoder's weights cannot be had, which encode texts as well")
        if not self._made:
            self._made = {one.name: one for one in prompt_scorers(self._prompts, *handler.text_half)}
        return self._made[prompt.name]


def _is_recorded_prompt(prompt: Prompt) -> Callable[[Job, ScoreStep], bool]:
    return lambda standing, step: step.identity.name.startswith(f"{asked_as(prompt)} (")


def model_flags(options: CurationOptions) -> dict[str, Any]:
    """The flags that choose models, as job.json remembers them."""
    return {name: getattr(options, name) for name in (*ENCODER_FLAGS, *SCORER_FLAGS)}


def clip_handler(options: CurationOptions, encoder: Encoder | None = None) -> ClipModelHandler:
    """The embedding model that the flags ask for, its weights found; or of an encoder that a caller in Python gives.

    Raises:
      UsageError: when the model is unknown or its weights cannot be had.
    """
    return ClipModelHandler(
        encoder or _model(options.clip_model),
        options.clip_pretrained,
        model_dir=options.model_dir,
        **{one.name: getattr(options, one.name) for one in SETTINGS},
    )


def _model(text: str) -> str | Encoder:
    """The name of an encoder, or the user's own that it names."""
    if text.startswith(TIMM):
        return text
    what, values = values_apart(f"--encoder {text}", text.strip(), _EXAMPLE)
    if not is_named_object(what):
        return text
    encoder = made_object("--encoder", what, values, _EXAMPLE, "an encoder")
    check_encoder(encoder)
    return encoder


_EXAMPLE = "my_encoders:Own(side=224), 'my_encoders:Own side=224' or 'my_encoders:Own {\"side\": 224}'"


def scoring_of(
    options: CurationOptions, scorers: AskedScorers, standing: Job | None = None, encoder: Encoder | None = None
) -> Scoring:
    """The scoring chain that the flags ask for, its weights found.

    Of what cannot be had, the standing job's record will do where the same flags gave it: all that stands of it is
    good, and a range that needs it after all fails the job.

    Args:
      options: the flags.
      scorers: those that they ask for.
      standing: the job that stands in the output directory, if any.
      encoder: one that a caller in Python gives, in place of the flag's.

    Raises:
      UsageError: when a model is unknown or its weights cannot be had, and nothing stands of it.
    """
    try:
        handler = clip_handler(options, encoder)
    except UsageError as error:
        if standing is None or standing.encoder is None or not _same(options, standing, ENCODER_FLAGS):
            raise
        found = [_found(one, None, standing) for one in scorers.asked]
        return EncoderUnavailable(standing.encoder, str(error), *found)
    found = [_found(one, handler, standing) for one in scorers.asked]
    missing = next((one for one in found if isinstance(one, RecordedScorer)), None)
    if missing is not None:  # nothing is embedded for a score that cannot be had
        return EncoderUnavailable(handler.identity, missing.why, *found)
    return ScoreRanges(handler, *found)


def _found(asked: AskedScorer, handler: ClipModelHandler | None, standing: Job | None) -> Scorer:
    try:
        return asked.make(handler)
    except UsageError as error:
        known = next((step for step in standing.scorers if step.name == asked.name), None) if standing else None
        if standing is None or known is None or not asked.is_recorded(standing, known):
            raise
        return RecordedScorer(known, str(error))


def _same(options: CurationOptions, standing: Job, flags: Sequence[str]) -> bool:
    recorded = _flags_of(standing)
    return all(recorded.get(flag, getattr(options, flag)) == getattr(options, flag) for flag in flags)


def _flags_of(standing: Job) -> dict[str, Any]:
    """The flags that chose a standing job's models, in today's names."""
    flags = standing.model_flags
    before = FAST if flags.get("fast_resize") else EXACT
    return {"decode": None if flags.get("jpeg_draft") else before, **flags}  # nothing drafts JPEGs any more


class RecordedScorer(Scorer):
    """Stands for a scorer whose weights cannot be had, but whose columns should all be there."""

    def __init__(self, step: ScoreStep, why: str) -> None:
        self.name, self.needs, self._step, self.why = step.name, step.needs, step, why

    needs: Needs

    @property
    def columns(self) -> Sequence[Column]:
        return self._step.columns

    @property
    def identity(self) -> ModelIdentity:
        return self._step.identity

    def __call__(self, batch: Any) -> Any:
        raise AssertionError("never loaded, never called")

    def load(self) -> None:
        raise JobError(f"there are ranges without scores of {self.name}, and {self.why}")
