"""Input that was moved after a job read it."""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Sequence


@dataclasses.dataclass(frozen=True)
class Move:
    """A move of the input after the job: urls that began with `before` begin with `now` since then."""

    before: str = ""
    now: str = ""

    @classmethod
    def to(cls, input_root: str | None, patterns: Sequence[str]) -> Move:
        """The move of what these patterns match to a directory that stands for the deepest one that held all of it."""
        return cls(root_of(patterns), f"{input_root.rstrip('/')}/") if input_root else cls()

    def there(self, url: str) -> str:
        """Translates a url that the job knew into the place where the file stands now."""
        return self.now + url.removeprefix(self.before)

    def back(self, url: str) -> str:
        """Translates the place where a file stands now into the url that the job knew."""
        return self.before + url.removeprefix(self.now)


def root_of(patterns: Sequence[str]) -> str:
    """The deepest directory that holds all that these patterns can match, with the slash at its end."""
    directories = [re.split(r"[\[*?]", pattern)[0].split("/")[:-1] for pattern in patterns]
    levels = zip(*directories, strict=False)
    return "".join(f"{level[0]}/" for level in itertools.takewhile(lambda level: len(set(level)) == 1, levels))
