"""Photos a second of a cluster, from what a photo costs: in closed form, and event by event."""
