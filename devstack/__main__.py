"""`python -m devstack`: the local stack's commands."""

from devstack.cli import main

if __name__ == "__main__":
    main()
