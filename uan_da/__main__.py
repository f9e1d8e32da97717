"""``python -m uan_da`` is ``uan-da``."""

from uan_da.cli.app import main

if __name__ == "__main__":
    main()
