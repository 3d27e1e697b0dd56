"""Prints the table of sources for the documentation."""

from nanov2t.stores.registry import sources_table

if __name__ == "__main__":
    print(sources_table())
