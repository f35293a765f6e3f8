"""What Ray Tune runs: a process that trains leg after leg, of whichever member has its turn."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import ray
from ray import tune

from workers.finish.leg import Finishing, Leg
from workers.finish.training import train_leg
from workers.jobs import make_bench
from workers.process import ready_process

LEG, MEMBER = "leg", "member"


class Member(tune.Trainable):  # type: ignore[misc]
    """A member of a population; a step is the leg in its configuration.

    All that it knows lies in the files of its legs, so what Ray keeps for it between two legs is nothing.
    """

    def setup(self, config: dict[str, Any], **kept: Any) -> None:
        """Called once in a process, however many trials it serves."""
        ready_process(kept["paths"], kept["threads"], kept["deterministic"])
        self._bench = make_bench(*ray.get(kept["inputs"]))
        finishing: Finishing = kept["finishing"]
        self._finishing = replace(finishing, folder=self._bench.shelf.here(finishing.folder))

    def step(self) -> dict[str, Any]:
        """Train the leg."""
        leg = Leg.from_json(self.config[LEG])
        result = train_leg(leg, self._finishing, self._bench)
        return {MEMBER: leg.member, LEG: leg.number, "score": result.score}

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Serve another trial, or the next leg of this one."""
        self.config = new_config
        return True

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Nothing; nobody asks for it."""

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Nothing."""
