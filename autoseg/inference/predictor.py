"""Predicting images in memory with a trained workspace."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from autoseg.bundle.opening import opened
from autoseg.dataset import Dataset
from autoseg.errors import ImageError, PlanError
from autoseg.images import Geometry, Volume
from autoseg.inference.averaging import averaged
from autoseg.inference.export import Scores, label_map, probabilities_on_grid
from autoseg.inference.finish import Finish, find_finish
from autoseg.inference.hypotheses import NumberedNetwork, hypothesis_networks
from autoseg.inference.members import Member, load_members, selected
from autoseg.inference.needs import CaseNeed, case_need
from autoseg.inference.scratch import mapped_array
from autoseg.inference.sliding_window import predict_probabilities, with_label_map
from autoseg.inference.votes import Votes
from autoseg.orientation import direction_of
from autoseg.plan import Plan, data_id
from autoseg.preprocessing.case import Prepared, Steps, prepare
from autoseg.preprocessing.extra import CaseFiles
from autoseg.preprocessing.previous_stage import labels_on_grid

Mirroring = Literal["auto", "mirror", "none"]


@dataclass(frozen=True)
class Predictor:
    """The networks of a workspace or bundle, loaded once, for any number of images.

    >>> predictor = Predictor.load("brain.autoseg")  # doctest: +SKIP
    >>> labels = predictor.predict_array(image, spacing=(1.0, 1.0, 1.0))  # doctest: +SKIP
    """

    dataset: Dataset
    plan: Plan
    members: tuple[Member, ...]
    device: torch.device
    mirror: bool = True
    """Whether it averages over mirrored copies."""
    finish: Finish = field(default_factory=Finish)
    overconfidence: float = 0.0
    """By how much Dice was lower in cross-validation than probabilities let expect."""
    trainer: str = "supervised"
    """Whose networks they are."""

    @classmethod
    def load(
        cls,
        workspace: Path | str,
        *,
        configurations: Sequence[str] | None = None,
        folds: Sequence[str | int] | None = None,
        trainer: str | None = None,
        device: str = "auto",
        tta: Mirroring = "auto",
        best: bool = False,
        postprocessing: bool = True,
    ) -> Predictor:
        """Load what cross-validation chose, or all that is trained, or what is named, of a workspace or a bundle.

        ``tta``: average over mirrored copies or not; ``auto`` does what ``autoseg choose --tta`` found worth its time,
        and mirrors where that was not measured. ``best``: the weights with the best validation Dice instead of the last
        ones. ``postprocessing``: do to label maps what cross-validation found to improve them. The stages that a
        cascade builds on are loaded with it, all their folds.
        """
        from autoseg.planners.resources import choose_device

        if tta not in ("auto", "mirror", "none"):
            raise PlanError(f"tta '{tta}': expected auto, mirror or none")
        chosen = torch.device(choose_device(device))
        with opened(Path(workspace)) as place:
            plan, dataset = place.plan(), place.dataset()
            ensemble = selected(place, plan, configurations, trainer)
            mirror = ensemble.mirror is not False if tta == "auto" else tta == "mirror"
            members = load_members(
                place,
                device=chosen,
                configurations=ensemble.configurations,
                folds=[str(fold) for fold in folds] if folds else None,
                trainer=ensemble.trainer,
                mirror=mirror,
                best=best,
            )
            finish = find_finish(place, dataset, ensemble, postprocessing=postprocessing)
            return cls(dataset, plan, tuple(members), chosen, mirror, finish, ensemble.overconfidence, ensemble.trainer)

    @cached_property
    def stages(self) -> tuple[Member, ...]:
        """The members and all that they build on, each once and none before what it reads."""
        found: list[Member] = []
        for member in self.members:
            stages = [member]
            while stages[-1].previous:
                stages.append(stages[-1].previous)
            found.extend(stage for stage in reversed(stages) if not any(stage is other for other in found))
        return tuple(found)

    def prepare(self, volume: Volume, files: CaseFiles | None = None) -> list[Prepared]:
        """Preprocess an image for each of the :attr:`stages`; those that need the same data share them.

        ``files`` tells where those lie that extra channels of the case need.
        """
        made: dict[str, Prepared] = {}
        keys = [data_id(self.plan, member.configuration) for member in self.stages]
        for key, member in zip(keys, self.stages, strict=True):
            if key not in made:
                made[key] = prepare(
                    volume, None, dataset=self.dataset, plan=self.plan, configuration=member.configuration, files=files
                )
        return [made[key] for key in keys]

    def need(self, geometry: Geometry, *, votes: bool = False, hypotheses: int = 0) -> CaseNeed:
        """Estimate the bytes that an image takes until its label map is made; options as for :meth:`scores`."""
        channels = len(self.dataset.channels)
        return case_need(geometry, self.plan, self.stages, channels=channels, votes=votes, hypotheses=hypotheses)

    def scores(
        self, prepared: Sequence[Prepared], *, scratch: Path | None = None, votes: bool = False, hypotheses: int = 0
    ) -> list[Scores]:
        """Compute the members' class probabilities, from what :meth:`prepare` made; members on one grid are averaged.

        They come as they are computed, none before what it reads. A stage that others read is computed once. Of one
        that is no member itself only the label map is kept. Where a folder is given as ``scratch``, probabilities lie
        in files there, for images that memory has no room for. With ``votes`` the scores are those of each member, and
        hold what each of its networks says for itself. With ``hypotheses`` they hold as many plausible label maps,
        finished as that of the mean is; :mod:`autoseg.inference.hypotheses` says whose.
        """
        drawn = hypothesis_networks(self.members, hypotheses)
        each = self._each_score(prepared, drawn, scratch=scratch, votes=votes)
        return list(each) if votes else averaged(each, overwrite=True)

    def _each_score(
        self,
        prepared: Sequence[Prepared],
        drawn: Sequence[NumberedNetwork],
        *,
        scratch: Path | None,
        votes: bool,
    ) -> Iterator[Scores]:
        """Compute one stage after the other; yield the scores of those that are members, and forget them."""
        maps: dict[int, np.ndarray] = {}
        for stage, case in zip(self.stages, prepared, strict=True):
            before = labels_on_grid(maps[id(stage.previous)], case.steps, self.dataset) if stage.previous else None
            image = with_label_map(case.image, before)
            is_member = any(member is stage for member in self.members)
            found = self._stage_scores(stage, image, case.steps, scratch=scratch, votes=votes and is_member)
            if any(other.previous is stage for other in self.stages):
                maps[id(stage)] = label_map([found], self.dataset)
            if is_member:
                own = {each.number: each.alone for each in drawn if each.member is stage}
                yield replace(found, hypotheses=self._hypotheses(own, image, case.steps, scratch))
            del found  # Else it would be kept while the next stage is computed.

    def _stage_scores(
        self, stage: Member, image: np.ndarray, steps: Steps, *, scratch: Path | None, votes: bool
    ) -> Scores:
        out = mapped_array(scratch, (stage.window.outputs, *image.shape[1:])) if scratch else None
        counted = Votes.empty(len(stage.networks), image.shape[1:], self.dataset) if votes else None
        watch = partial(counted.count, dataset=self.dataset) if counted else None
        found = predict_probabilities(stage.networks, image, stage.window, self.device, out=out, watch=watch)
        return Scores(found, steps, counted)

    def _hypotheses(
        self, drawn: Mapping[int, Member], image: np.ndarray, steps: Steps, scratch: Path | None
    ) -> dict[int, np.ndarray]:
        """Return the label map of each member; the probabilities of one of them are held at a time."""
        return {
            number: self.finish.label_map(
                [self._stage_scores(member, image, steps, scratch=scratch, votes=False)], self.dataset
            )
            for number, member in drawn.items()
        }

    def predict(self, volume: Volume) -> np.ndarray:
        """Return the label map [Z,Y,X] of an image on its own grid, in the dataset's label values."""
        return self.finish.label_map(self.scores(self.prepare(volume)), self.dataset)

    def predict_array(
        self,
        image: np.ndarray,
        *,
        spacing: Sequence[float],
        probabilities: bool = False,
        absent: Sequence[str] = (),
    ) -> np.ndarray | tuple[np.ndarray, np.ndarray]:
        """Predict an array [C,Z,Y,X] with ``spacing`` (z, y, x) in millimetres, stored as the training images were.

        ``absent``: names of the channels that it does not hold, where these may be missing.

        Returns label values [Z,Y,X] and, if asked for, the probabilities [classes,Z,Y,X] float16 as well.
        """
        if image.ndim != 4 or len(spacing) != 3:
            raise PlanError(f"image: found {image.ndim} axes and {len(spacing)} spacings, expected [C,Z,Y,X] and three")
        if not all(np.isfinite(s) and s > 0 for s in spacing):
            raise PlanError(f"spacing: found {tuple(spacing)}, expected three positive numbers of millimetres")
        array = np.asarray(image, dtype=np.float32)
        if not np.isfinite(array).all():
            raise ImageError("image: found NaN or infinite values, expected finite ones; replace them first")
        unknown = [name for name in absent if name not in self.dataset.channels]
        if unknown:
            raise PlanError(f"absent: found '{unknown[0]}', expected some of {', '.join(self.dataset.channels)}")
        missing = tuple(number for number, name in enumerate(self.dataset.channels) if name in absent)
        volume = Volume(array, plain_geometry(image.shape[1:], spacing, self.plan.orientation), missing)
        scores = self.scores(self.prepare(volume))
        labels = self.finish.label_map(scores, self.dataset)
        return (labels, probabilities_on_grid(scores, self.dataset)) if probabilities else labels


def plain_geometry(size: Sequence[int], spacing: Sequence[float], orientation: str | None = None) -> Geometry:
    """Return the geometry of an array that comes without one: at the origin, in ``orientation`` or along the axes."""
    z, y, x = (int(n) for n in size)
    dz, dy, dx = (float(s) for s in spacing)
    direction = direction_of(orientation or "SPL")
    return Geometry(size=(z, y, x), spacing=(dz, dy, dx), origin=(0.0, 0.0, 0.0), direction=direction, dimension=3)
