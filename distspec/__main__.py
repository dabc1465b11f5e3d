"""``python -m distspec`` is the command ``distspec``."""

from distspec.cli.main import main

if __name__ == "__main__":
    main()
