"""`decouple`: do scaling, rotation and detail of a sampler come apart under conditions that it never saw?"""

STUDENT = "student, "
"""What stands before the conditions under which a student is measured."""
