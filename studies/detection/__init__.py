"""Off the manifold of a real decoder: is it told by geometry, better than by numbers that cost less?"""
