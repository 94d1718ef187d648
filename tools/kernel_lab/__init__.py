"""Every layer of some networks with every row that supports it: checked, timed, and drawn under an adapter's roof."""
