"""Looking at what was made, listening to it, counting it, and pricing what is to be made."""
