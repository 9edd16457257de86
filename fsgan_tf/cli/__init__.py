"""How a command starts, reads its flags and ends."""
