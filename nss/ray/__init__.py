"""Many machines: photos of any storage, handed to Ray."""
