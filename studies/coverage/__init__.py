"""The coverage study: how often the intervals of this library hold the truth."""
