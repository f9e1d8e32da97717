"""What is public in Python: training, trained runs, and comparisons, with tables as pandas has them."""
