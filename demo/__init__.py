"""A migration that anyone can watch: an old system, its database, its traffic, and the whole way to AWS."""
