"""fallback"""
import os
def default_workers(): return len(os.sched_getaffinity(0))
def map_cases(function, items, *, names, workers, description="", memory_needed=None, progress=None, executor=None):
    out=[]
    for n,i in zip(names,items):
        out.append(function(i))
        if progress: progress(n)
    return out
