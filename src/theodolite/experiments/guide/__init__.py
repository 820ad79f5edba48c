"""`guide`: a diffusion model guided by a reward of its local scaling, beside controls that push as hard."""
