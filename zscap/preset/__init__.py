"""Presets: what each is made of, where its weights lie, and how it is put together."""
