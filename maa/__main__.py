"""``python -m maa``: the command line."""

from maa.cli import main

if __name__ == "__main__":
    main()
