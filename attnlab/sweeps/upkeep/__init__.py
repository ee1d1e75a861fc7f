"""Care for a store: look for damage, save what is whole, join stores, hand a part on, and throw away what nobody asks for."""
