"""Mathematics on arrays, which knows neither photos nor masks."""
