"""What a developer runs: fetch the test networks, measure, compare. Not part of the wheel."""
