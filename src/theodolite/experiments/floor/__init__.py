"""`floor`: the training loss that no network can beat, beside a user's own."""
