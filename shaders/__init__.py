"""The home of the WGSL compute shaders, one file per kernel, on the frames of bases/."""
