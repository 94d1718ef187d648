"""The home of the WGSL compute shaders, one file per kernel; the WebGPU executor that runs them is yet to come."""
