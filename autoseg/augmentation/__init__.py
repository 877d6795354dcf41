from __future__ import annotations
import torch
class Parameters: pass
class Augmentation:
    loader_transform=None
    def __init__(self,patch): self.patch=patch
    def sample(self,rng): return None
    def source_size(self,p): return tuple(self.patch)
    def apply(self,images,labels,parameters): return torch.stack(list(images)),torch.stack(list(labels))
def build_augmentation(spec,*,dimension,patch_size,spacing,mirror_axes,channels): return Augmentation(patch_size)
