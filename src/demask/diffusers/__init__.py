"""The models of Demask behind the interface of diffusers; see docs/diffusers.md."""

from demask.diffusers.pipelines import (
    DemaskImg2ImgPipeline,
    DemaskInpaintPipeline,
    DemaskPipeline,
)

__all__ = ["DemaskImg2ImgPipeline", "DemaskInpaintPipeline", "DemaskPipeline"]
