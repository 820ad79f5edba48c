"""Studies: claims about the world and about this library, measured."""
