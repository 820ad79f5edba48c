"""`decouple`: do scaling, rotation and detail of a sampler come apart under conditions that it never saw?"""
