"""The explorer: a page on this machine on which people look at a catalogue and say what they see."""
