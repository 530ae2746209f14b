"""Devices to measure on: their names, connections and sessions, and the measurements.

Names and connections:

    device.py       names on the command line and in farm files
    connection.py   a process or socket connected to `device_scripts/agent.py`
    local.py, ssh.py, adb.py, emulated.py  one file per kind of device; cores.py has the cores that QEMU emulates
    session.py      a session with the agent; shell.py the same for devices without Python

    Work on devices:

    measuring.py    measures artifacts on several devices at once: `edgecomp bench`
    setup.py        installs the runtimes that the target profile recommends
    native.py       builds and sends the C program for devices without Python
    results.py      measurements as files; regression.py compares two of them
"""
