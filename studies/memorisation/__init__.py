"""The memorisation study: which score finds the images that a model knows by heart, and where."""
