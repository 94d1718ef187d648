"""The intermediate representation and what is done to it before anything runs."""
