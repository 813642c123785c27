"""Mutation testing: small changes to the derivative code, each of which must fail."""
