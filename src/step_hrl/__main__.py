"""``python -m step_hrl`` is the command ``step-hrl``."""

from step_hrl.cli.main import main

if __name__ == "__main__":
    main()
