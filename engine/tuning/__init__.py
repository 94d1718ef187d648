"""What a model's layers cost on an adapter, by each implementation that its tables have."""
