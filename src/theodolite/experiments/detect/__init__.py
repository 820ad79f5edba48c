"""`detect`: which images of one folder are unlike those of another, by the local geometry of a model."""
