"""A result folder as one HTML page: `edgecomp report`. It needs no other file, no network and no script.

contents.py  what the page tells, from the manifest, the artifacts and the measurements
charts.py    its pictures, as inline SVG
page.py      both put into the template `page.html.j2`
"""
