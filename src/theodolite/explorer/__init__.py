"""A page in the browser on run folders of every kind: tables and pictures side by side, and a latent that one can turn.

It reads runs as everything else does, through `theodolite.read_run`, and computes nothing that they do not hold, except
in the live panel, where a model runs in a process of its own.
"""
