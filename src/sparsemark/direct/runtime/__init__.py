"""Runtime of the engine: machine code, the memory of a program, and the threads that share it."""
