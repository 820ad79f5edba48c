"""`survey`: the local geometry of a map at the point of every image of a folder, or at drawn latents."""
