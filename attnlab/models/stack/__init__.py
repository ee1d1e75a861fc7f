"""A stack of self-attention layers over sequences of tokens."""
