"""`python -m cloud_hub.fleet`."""

from cloud_hub.fleet.cli import main

if __name__ == "__main__":
    main()
