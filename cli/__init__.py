"""The `flask` commands, a module each; what they do is in `services`."""
