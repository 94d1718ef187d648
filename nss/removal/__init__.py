"""From a photo to its mask: find out a model's interface, run the network, make the cut-out."""
