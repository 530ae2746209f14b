"""What edgecomp asks of the operating system.

isolation.py  a function in a process of its own, so that native code that aborts takes nothing else with it
quiet.py      standard output and error, which native code writes to past Python
folder.py     a folder that appears whole or not at all
spool.py      samples in an unnamed temporary file, grouped by size
columns.py    arrays one behind the other in a file, read one at a time
memory.py     memory-mapped files, and memory that goes back to the system
threads.py    torch's threads, where they cost more than they give
"""
