"""`python -m cloud_hub`."""

from cloud_hub.cli import main

if __name__ == "__main__":
    main()
