"""Programs for developers; the workflow itself never calls them."""
