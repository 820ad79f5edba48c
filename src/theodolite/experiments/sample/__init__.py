"""`sample`: draws of a model, judged, and whether local geometry tells the bad ones better than cheap numbers do."""
