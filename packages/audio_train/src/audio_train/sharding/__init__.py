"""One step on many devices: the mesh, what each device does, what travels between them, several processes."""
