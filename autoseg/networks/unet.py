"""fallback"""
from __future__ import annotations
import math
import torch
from torch import nn
import torch.nn.functional as F
from autoseg.networks import networks
class B(nn.Module):
    def __init__(s,d,i,o,k,st):
        super().__init__(); C=nn.Conv3d if d==3 else nn.Conv2d
        s.c=C(i,o,tuple(k),tuple(st),tuple(x//2 for x in k)); s.w=nn.Parameter(torch.ones(o)); s.b=nn.Parameter(torch.zeros(o)); s.o=o
        nn.init.kaiming_normal_(s.c.weight,0.01); nn.init.zeros_(s.c.bias)
    def forward(s,x):
        x=s.c(x)
        return F.leaky_relu_(F.group_norm(x,s.o,s.w.to(x.dtype),s.b.to(x.dtype),1e-5),0.01)
@networks.register("unet")
class UNet(nn.Module):
    def __init__(self,*,in_channels,outputs,dimension,features,kernels,strides,convolutions=2,decoder_convolutions=2,deep_supervision=True):
        super().__init__(); d=dimension; T=nn.ConvTranspose3d if d==3 else nn.ConvTranspose2d; C=nn.Conv3d if d==3 else nn.Conv2d
        self.enc=nn.ModuleList(); self.dec=nn.ModuleList(); self.up=nn.ModuleList(); self.head=nn.ModuleList(); c=in_channels
        for f,k,s in zip(features,kernels,strides):
            self.enc.append(nn.Sequential(B(d,c,f,k,s),B(d,f,f,k,[1]*d))); c=f
        for i in range(len(features)-2,-1,-1):
            f=features[i]; self.up.append(T(c,f,tuple(strides[i+1]),tuple(strides[i+1]))); self.dec.append(nn.Sequential(B(d,2*f,f,kernels[i],[1]*d),B(d,f,f,kernels[i],[1]*d))); self.head.append(C(f,outputs,1)); c=f
        self.ds=deep_supervision
    def forward(self,x):
        sk=[]
        for e in self.enc: x=e(x); sk.append(x)
        out=[]
        for i,(u,d,h) in enumerate(zip(self.up,self.dec,self.head)):
            x=d(torch.cat([u(x),sk[-2-i]],1))
            if (self.training and self.ds) or i==len(self.up)-1: out.append(h(x))
        return out[::-1]
