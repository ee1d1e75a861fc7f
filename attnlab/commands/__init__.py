"""Commands of `attnlab`, one subject a file; what they need is imported inside them."""
