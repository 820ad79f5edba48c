"""Which classes of diffusers open, and what every verb makes of them."""
