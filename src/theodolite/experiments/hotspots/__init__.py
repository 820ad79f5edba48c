"""`hotspots`: where a map bends most, and how much of that lies off the detail."""
