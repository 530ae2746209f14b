"""`python -m edgecomp`, where the script `edgecomp` is not on the path."""

from edgecomp.cli import main

if __name__ == "__main__":
    main()
