"""From a photo to its mask: a model's interface found out, the network run, the cut-out made."""
