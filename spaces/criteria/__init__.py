"""Importance criteria: each scores the channels of a group. To add one, write its file and its line below."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from spaces.criteria import (
    activation_mean,
    activation_variance,
    apoz,
    bn_scale,
    compensation,
    cpli,
    csg_sensitivity,
    discriminant,
    fisher,
    fpgm,
    gate_fisher,
    hrank,
    l1,
    l2,
    lamp,
    random,
    reconstruction,
    self_supervised,
    taylor,
    ucp_se,
    white_box,
)
from spaces.criteria.criterion import Criterion, Score
from spaces.criteria.evidence import BASIC, KINDS, Evidence, collect_evidence
from spaces.criteria.scoring import rank_tables, score_groups
from spaces.networks.factory import load_object

__all__ = [
    "BASIC",
    "CRITERIA",
    "KINDS",
    "Criterion",
    "Evidence",
    "Score",
    "collect_evidence",
    "rank_tables",
    "resolve",
    "score_groups",
]

CRITERIA: dict[str, Criterion] = {
    "l1": Criterion("l1", l1.score),
    "l2": Criterion("l2", l2.score),
    "bn_scale": Criterion("bn_scale", bn_scale.score),
    "fpgm": Criterion("fpgm", fpgm.score),
    "taylor": Criterion("taylor", taylor.score, frozenset({"taylor"})),
    "activation_mean": Criterion("activation_mean", activation_mean.score, frozenset({"activation_mean"})),
    "random": Criterion("random", random.score),
    "lamp": Criterion("lamp", lamp.score),
    "fisher": Criterion("fisher", fisher.score, frozenset({"weight_fisher"})),
    "gate_fisher": Criterion("gate_fisher", gate_fisher.score, frozenset({"gate_fisher"})),
    "apoz": Criterion("apoz", apoz.score, frozenset({"active_fraction"})),
    "activation_variance": Criterion(
        "activation_variance", activation_variance.score, frozenset({"activation_variance"})
    ),
    "hrank": Criterion("hrank", hrank.score, frozenset({"map_rank"})),
    "cpli": Criterion("cpli", cpli.score, frozenset({"edge_fisher"})),
    "ucp_se": Criterion("ucp_se", ucp_se.score, frozenset({"pooled", "slopes"})),
    "white_box": Criterion("white_box", white_box.score, frozenset({"class_masks"})),
    "discriminant": Criterion("discriminant", discriminant.score, frozenset({"utility"})),
    "compensation": Criterion("compensation", compensation.score, frozenset({"conditional_variance"})),
    "self_supervised": Criterion("self_supervised", self_supervised.score, frozenset({"self_supervised"})),
    "reconstruction": Criterion("reconstruction", reconstruction.score, frozenset({"reconstruction"})),
    "csg_sensitivity": Criterion("csg_sensitivity", csg_sensitivity.score, frozenset({"class_separation"})),
}


def resolve(names: Sequence[str]) -> tuple[Criterion, ...]:
    """The criteria called ``names``: built in, or the user's own ``package.module:function``.

    A user's function has the signature of :data:`spaces.criteria.criterion.Score`. It finds the evidence of
    :data:`BASIC`, unless its attribute ``needs`` (a collection of names from :data:`KINDS`) says otherwise.

    Raises:
        ValueError: no such criterion (the nearest is proposed), its module cannot be imported, or its ``needs`` are
            unknown.
    """
    return tuple(_own(name) if ":" in name else _built_in(name) for name in names)


def _built_in(name: str) -> Criterion:
    if name in CRITERIA:
        return CRITERIA[name]
    near = difflib.get_close_matches(name.lower().replace("-", "_"), CRITERIA, n=1, cutoff=0.4)
    hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(CRITERIA)}, or package.module:function"
    raise ValueError(f"space.criteria: no criterion is called {name!r}; {hint}")


def _own(name: str) -> Criterion:
    function = load_object(name, "space.criteria")
    declared = getattr(function, "needs", BASIC)
    needs = frozenset([declared] if isinstance(declared, str) else declared)
    if needs - KINDS:
        raise ValueError(
            f"space.criteria: {name!r} needs unknown evidence {sorted(needs - KINDS)}; there is {sorted(KINDS)}"
        )
    return Criterion(name, function, needs)
