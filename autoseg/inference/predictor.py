"""Predict images in memory with the networks of a workspace or bundle."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from autoseg.data.dataset import CaseFiles, Dataset
from autoseg.errors import ImageError, PlanError
from autoseg.images.geometry import Geometry, Volume
from autoseg.images.orientation import direction_of
from autoseg.inference.averaging import averaged
from autoseg.inference.ensemble import selected
from autoseg.inference.hypotheses import NumberedNetwork, hypothesis_networks
from autoseg.inference.members import Member, load_members
from autoseg.inference.needs import CaseNeed, case_need
from autoseg.inference.scratch import mapped_array
from autoseg.inference.sliding_window import predict_probabilities, with_label_map
from autoseg.plan.schema import Plan, data_id
from autoseg.postprocessing import PredictedCase, ReadImage, without_image
from autoseg.postprocessing.finish import Finish
from autoseg.postprocessing.label_maps import label_map, probabilities_on_grid
from autoseg.postprocessing.scores import MemberPredictions, Scores
from autoseg.preprocessing.case import Prepared, prepare
from autoseg.preprocessing.previous_stage import labels_on_grid
from autoseg.preprocessing.record import PreprocessingRecord
from autoseg.workspace.bundle import opened

Mirroring = Literal["auto", "mirror", "none"]


@dataclass(frozen=True)
class Predictor:
    """The networks of a workspace or bundle; they are loaded once and predict any number of images.

    >>> predictor = Predictor.load("brain.autoseg")  # doctest: +SKIP
    >>> labels = predictor.predict_array(image, spacing=(1.0, 1.0, 1.0))  # doctest: +SKIP
    """

    dataset: Dataset
    plan: Plan
    members: tuple[Member, ...]
    device: torch.device
    mirror: bool = True
    """Whether prediction averages over mirrored copies."""
    finish: Finish = field(default_factory=Finish)
    overconfidence: float = 0.0
    """Mean of expected Dice (from the probabilities) minus measured Dice, in cross-validation."""

    @classmethod
    def load(
        cls,
        workspace: Path | str,
        *,
        configurations: Sequence[str] | None = None,
        folds: Sequence[str | int] | None = None,
        device: str = "auto",
        tta: Mirroring = "auto",
        best: bool = False,
        postprocessing: bool = True,
    ) -> Predictor:
        """Load the ensemble members of a workspace or a bundle, and the previous stages of cascades.

        Without ``configurations``, those that cross-validation selected are loaded, or else all trained ones. ``tta``:
        average over mirrored copies or not; ``auto`` follows the result of ``autoseg choose --tta``, and mirrors if it
        was not measured. ``best``: use the weights with the best validation Dice instead of the last ones.
        ``postprocessing``: apply the steps that cross-validation selected. A previous stage always uses all its folds.
        Raises :class:`PlanError` for an unknown ``tta``, :class:`WeightsError` if no fold is trained.
        """
        from autoseg.system.devices import choose_device

        if tta not in ("auto", "mirror", "none"):
            raise PlanError(f"tta: found '{tta}', expected auto, mirror or none")
        chosen = torch.device(choose_device(device))
        with opened(Path(workspace)) as place:
            plan, dataset = place.plan(), place.dataset()
            ensemble = selected(place, plan, configurations)
            mirror = ensemble.mirror is not False if tta == "auto" else tta == "mirror"
            members = load_members(
                place,
                device=chosen,
                configurations=ensemble.configurations,
                folds=[str(fold) for fold in folds] if folds else None,
                mirror=mirror,
                best=best,
            )
            finish = Finish(ensemble.decoder, ensemble.postprocessing.steps if postprocessing else ())
            return cls(dataset, plan, tuple(members), chosen, mirror, finish, ensemble.overconfidence)

    @cached_property
    def stages(self) -> tuple[Member, ...]:
        """The members and their previous stages, each once; a previous stage comes before the stages that need it."""
        found: list[Member] = []
        for member in self.members:
            stages = [member]
            while stages[-1].previous:
                stages.append(stages[-1].previous)
            found.extend(stage for stage in reversed(stages) if not any(stage is other for other in found))
        return tuple(found)

    def prepare(self, volume: Volume, files: CaseFiles | None = None) -> list[Prepared]:
        """Preprocess an image for each of the :attr:`stages`; stages with the same preprocessing share the result.

        ``files`` contains the paths of further files that extra channels need.
        """
        made: dict[str, Prepared] = {}
        keys = [data_id(self.plan, member.configuration) for member in self.stages]
        for key, member in zip(keys, self.stages, strict=True):
            if key not in made:
                made[key] = prepare(
                    volume, None, dataset=self.dataset, plan=self.plan, configuration=member.configuration, files=files
                )
        return [made[key] for key in keys]

    def need(self, geometry: Geometry, *, member_predictions: bool = False, hypotheses: int = 0) -> CaseNeed:
        """Estimate the bytes that an image needs until its label map is complete; options as for :meth:`scores`."""
        return case_need(
            geometry,
            self.plan,
            self.dataset,
            self.stages,
            member_predictions=member_predictions,
            hypotheses=hypotheses,
        )

    def scores(
        self,
        prepared: Sequence[Prepared],
        *,
        scratch: Path | None = None,
        member_predictions: bool = False,
        hypotheses: int = 0,
        read_image: ReadImage = without_image,
    ) -> list[Scores]:
        """Compute class probabilities from the result of :meth:`prepare`; average the members that share a grid.

        Each stage is computed once, after its previous stage. Only the label map is kept of a stage that is not a
        member. ``scratch``: folder for temporary files that store the probabilities of images too large for memory.
        ``member_predictions``: return the scores of each member separately, with the predictions of each network.
        ``hypotheses``: number of plausible label maps to add to the scores, with the same decoder and post-processing
        as the mean (:mod:`autoseg.inference.hypotheses`). ``read_image``: reads the image for post-processing steps
        that need it.
        """
        drawn = hypothesis_networks(self.members, hypotheses)
        each = self._each_score(
            prepared, drawn, scratch=scratch, member_predictions=member_predictions, read_image=read_image
        )
        return list(each) if member_predictions else averaged(each, overwrite=True)

    def _each_score(
        self,
        prepared: Sequence[Prepared],
        drawn: Sequence[NumberedNetwork],
        *,
        scratch: Path | None,
        member_predictions: bool,
        read_image: ReadImage,
    ) -> Iterator[Scores]:
        """Compute the stages in order; yield the scores of the members without keeping them."""
        maps: dict[int, np.ndarray] = {}
        for stage, case in zip(self.stages, prepared, strict=True):
            before = (
                labels_on_grid(maps[id(stage.previous)], case.preprocessing, self.dataset) if stage.previous else None
            )
            image = with_label_map(case.image, before)
            is_member = any(member is stage for member in self.members)
            found = self._stage_scores(
                stage, image, case.preprocessing, scratch=scratch, member_predictions=member_predictions and is_member
            )
            if any(other.previous is stage for other in self.stages):
                maps[id(stage)] = label_map([found], self.dataset)
            if is_member:
                own = {each.number: each.alone for each in drawn if each.member is stage}
                yield replace(found, hypotheses=self._hypotheses(own, image, case.preprocessing, scratch, read_image))
            del found  # Free the scores before the next stage is computed.

    def _stage_scores(
        self,
        stage: Member,
        image: np.ndarray,
        preprocessing: PreprocessingRecord,
        *,
        scratch: Path | None,
        member_predictions: bool,
    ) -> Scores:
        out = mapped_array(scratch, (stage.tiling.outputs, *image.shape[1:])) if scratch else None
        counted = (
            MemberPredictions.empty(len(stage.networks), image.shape[1:], self.dataset) if member_predictions else None
        )
        watch = partial(counted.count, dataset=self.dataset) if counted else None
        found = predict_probabilities(stage.networks, image, stage.tiling, self.device, out=out, watch=watch)
        return Scores(found, preprocessing, counted)

    def _hypotheses(
        self,
        drawn: Mapping[int, Member],
        image: np.ndarray,
        preprocessing: PreprocessingRecord,
        scratch: Path | None,
        read_image: ReadImage,
    ) -> dict[int, np.ndarray]:
        """Return the label map of each hypothesis; only one hypothesis at a time has its probabilities in memory."""
        return {
            number: self._finished(
                [self._stage_scores(member, image, preprocessing, scratch=scratch, member_predictions=False)],
                read_image,
            )
            for number, member in drawn.items()
        }

    def _finished(self, scores: Sequence[Scores], read_image: ReadImage) -> np.ndarray:
        return self.finish.label_map(PredictedCase(scores, self.dataset, read_image))

    def predict(self, volume: Volume) -> np.ndarray:
        """Return the label map [Z,Y,X] of an image on its own grid, in the dataset's label values."""
        return self._finished(self.scores(self.prepare(volume)), lambda: volume)

    def predict_array(
        self,
        image: np.ndarray,
        *,
        spacing: Sequence[float],
        probabilities: bool = False,
        missing_channels: Sequence[str] = (),
    ) -> np.ndarray | tuple[np.ndarray, np.ndarray]:
        """Predict an array [C,Z,Y,X] with ``spacing`` (z, y, x) in mm and the axis order of the training images.

        ``missing_channels``: names of optional channels that the image does not contain.

        Returns label values [Z,Y,X] and, with ``probabilities``, also the probabilities [classes,Z,Y,X] float16.
        Raises :class:`PlanError` for a wrong shape, spacing or channel name, :class:`ImageError` for NaN or infinity.
        """
        if image.ndim != 4 or len(spacing) != 3:
            raise PlanError(f"image: found {image.ndim} axes and {len(spacing)} spacings, expected [C,Z,Y,X] and three")
        if not all(np.isfinite(s) and s > 0 for s in spacing):
            raise PlanError(f"spacing: found {tuple(spacing)}, expected three positive numbers of millimetres")
        array = np.asarray(image, dtype=np.float32)
        if not np.isfinite(array).all():
            raise ImageError("image: found NaN or infinite values, expected finite ones; replace them first")
        unknown = [name for name in missing_channels if name not in self.dataset.channels]
        if unknown:
            raise PlanError(
                f"missing_channels: found '{unknown[0]}', expected some of {', '.join(self.dataset.channels)}"
            )
        missing = tuple(number for number, name in enumerate(self.dataset.channels) if name in missing_channels)
        volume = Volume(array, plain_geometry(image.shape[1:], spacing, self.plan.orientation), missing)
        scores = self.scores(self.prepare(volume))
        labels = self._finished(scores, lambda: volume)
        return (labels, probabilities_on_grid(scores, self.dataset)) if probabilities else labels


def plain_geometry(size: Sequence[int], spacing: Sequence[float], orientation: str | None = None) -> Geometry:
    """Return a geometry for an array without one: origin 0, direction from ``orientation`` (default "SPL")."""
    z, y, x = (int(n) for n in size)
    dz, dy, dx = (float(s) for s in spacing)
    direction = direction_of(orientation or "SPL")
    return Geometry(size=(z, y, x), spacing=(dz, dy, dx), origin=(0.0, 0.0, 0.0), direction=direction, dimension=3)
