"""Pictures and tables of what networks do, for the commands that look at them."""
