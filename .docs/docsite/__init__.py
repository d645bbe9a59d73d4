"""What the site is made of: hand-written pages, the README, the tables, programs and docstrings."""
