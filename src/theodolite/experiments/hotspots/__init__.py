"""`hotspots`: where a decoder bends most, and how much of that lies off the detail."""
