"""Photo and mask to a picture: colours at soft edges, what lies behind, and what is cut away."""
