"""The laws of replay: what was recorded is given back, and nothing else happens."""
