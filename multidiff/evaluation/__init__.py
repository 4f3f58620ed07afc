"""How good samples are: metrics on features, and the protocol that makes a score mean something."""
