"""fallback"""
from __future__ import annotations
from dataclasses import dataclass
from pathlib import Path
import numpy as np
import SimpleITK as sitk
from autoseg.errors import ImageError
from autoseg.storage import atomic_path
@dataclass(frozen=True)
class Geometry:
    size: tuple[int,int,int]
    spacing: tuple[float,float,float]
    origin: tuple[float,...]
    direction: tuple[float,...]
    dimension: int = 3
    def differences(self, other):
        return [] if self.size==other.size else [f"size {self.size} and {other.size}"]
@dataclass(frozen=True)
class Volume:
    array: np.ndarray
    geometry: Geometry
def _g(im): return Geometry(tuple(im.GetSize()[::-1]),tuple(im.GetSpacing()[::-1]),tuple(im.GetOrigin()),tuple(im.GetDirection()),3)
def read_volume(paths):
    ims=[sitk.ReadImage(str(p)) for p in paths]
    return Volume(np.stack([sitk.GetArrayFromImage(i) for i in ims]).astype(np.float32),_g(ims[0]))
def read_labels(path):
    im=sitk.ReadImage(str(path)); a=sitk.GetArrayFromImage(im).astype(np.uint8); return a,_g(im)
def read_geometry(path):
    return _g(sitk.ReadImage(str(path)))
def non_finite_count(a): return int((~np.isfinite(a)).sum())
def _w(path,a,g):
    im=sitk.GetImageFromArray(a); im.SetSpacing(g.spacing[::-1]); im.SetOrigin(g.origin); im.SetDirection(g.direction)
    with atomic_path(Path(path)) as t: sitk.WriteImage(im,str(t),True)
def write_labels(path,labels,geometry,*,like=None): _w(path,labels,geometry)
def write_volume(path,array,geometry,*,like=None): _w(path,array,geometry)
