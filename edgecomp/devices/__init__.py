"""Devices to measure on: how they are named, reached, used and left as they were.

What a device is, and how it is reached:

    device.py       names on the command line and in farm files
    connection.py   a process or socket with `device_scripts/agent.py` at the other end
    local.py, ssh.py, adb.py, emulated.py  one file per kind of device; cores.py has the cores that QEMU emulates
    session.py      a conversation with the agent; shell.py the same with devices that have no Python

What is done there:

    measuring.py    measures artifacts on several devices at once: `edgecomp bench`
    setup.py        installs the runtimes that the target profile recommends
    native.py       builds and sends the C program for devices without Python
    results.py      measurements as files; regression.py compares two of them
"""
