"""Interfaces to the operating system.

isolation.py  runs a function in a separate process, so that native code that aborts cannot take edgecomp with it
quiet.py      captures standard output and error, to which native code writes directly
folder.py     a folder that appears completely or not at all
columns.py    arrays stored one after another in a file, and read one at a time
memory.py     memory-mapped files, and returning unused memory to the system
threads.py    runs torch on one thread where more would be slower
"""
