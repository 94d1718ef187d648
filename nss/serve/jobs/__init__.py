"""What is done for whoever asks: models, pipelines, jobs, and the files that were sent ahead."""
