"""How a model takes a photo and gives its mask, as data, and what files say of it."""
