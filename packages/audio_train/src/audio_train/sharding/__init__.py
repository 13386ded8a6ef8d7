"""One step on many devices: mesh, shardings, collectives, and several processes."""
