"""Random cases with known answers, a module a room; each has `cells()`."""
