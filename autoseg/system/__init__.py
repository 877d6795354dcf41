"""Resources of the machine and their use: devices, memory, processors, worker processes."""
